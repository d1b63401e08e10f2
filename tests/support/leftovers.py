# SPDX-License-Identifier: Apache-2.0
"""Mounts that an earlier, killed run of the tests left behind.

pytest removes the folders of earlier runs; a dead mount in one of them makes that fail, long after
the run that is to blame. Runs that go on beside this one kill mounts of their own, and want to find
them dead.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from backlotfs.kernel.mount_table import our_mounts, probe_mount
from tests.support.mounting import detach


def clear_dead_mounts(below: Path | None = None) -> list[Path]:
    """Unmount our dead mounts in pytest's folders, where no other run is at work.

    :param below: where to look; None: in the folder for temporary files.
    :returns: what was unmounted.
    """
    root = (below or Path(tempfile.gettempdir())).resolve()
    cleared = []
    for entry in our_mounts():
        place = Path(entry.mountpoint)
        if place.is_relative_to(root) and not is_anothers(place) and probe_mount(place).dead:
            detach(place)
            cleared.append(place)
    return cleared


def run_id() -> int:
    """Process id of this run of pytest: of a worker of pytest-xdist, that of its controller."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def is_anothers(place: Path) -> bool:
    """Whether a run of pytest that goes on beside this one has this place, or none ever had."""
    for folder in place.parents:
        if folder.name.startswith("pytest-") and folder.parent.name.startswith("pytest-of-"):
            try:
                pid = int((folder / ".lock").read_text("ascii"))
            except (OSError, ValueError):
                return False  # it ended, or nobody knows
            return pid != run_id() and Path(f"/proc/{pid}").exists()
    return True
