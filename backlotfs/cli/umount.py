# SPDX-License-Identifier: Apache-2.0
"""``backlotfs umount``."""

from __future__ import annotations

from pathlib import Path

import click

from backlotfs.cli.mountpoints import MOUNTED
from backlotfs.kernel.mountpoint import resolved, unmount


@click.command()
@click.argument("mountpoint", type=MOUNTED)
def umount(mountpoint: Path) -> None:
    """Unmount MOUNTPOINT, even if its mount is dead."""
    unmount(resolved(mountpoint))
