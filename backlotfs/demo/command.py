# SPDX-License-Identifier: Apache-2.0
"""``backlotfs demo [MOUNTPOINT]``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from backlotfs.errors import SettingsError, install_extra


@click.command("demo", short_help="Sample library, mount and guided tour; cleans up.")
@click.argument("mountpoint", required=False, type=click.Path(path_type=Path))
def demo(mountpoint: Path | None) -> None:
    """Serve sample media by the emulator, mount them, and show what one does with a mount.

    Lists, copies with cp and rsync, compares checksums with the files the emulator serves, and
    reads on while signed URLs expire. On a terminal the mount stays up until Enter. MOUNTPOINT is
    an empty or a new folder; without it one in the temporary folder is taken. Everything made is
    removed at the end, also after Ctrl-C.
    """
    if importlib.util.find_spec("aiohttp") is None:
        raise SettingsError(f"the demo needs an extra; install it: {install_extra('emulator')}")
    # late: the import of the emulator takes long, and must not delay the help
    from backlotfs.demo.session import Session

    # not ctx.exit, so that the shell always gets the status, also that of a signal
    raise SystemExit(Session(mountpoint).run())
