"""The one temporary folder of a demo, and its removal, which never walks into a mount."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from backlotfs.kernel.mount_table import parse_mountinfo

# A daemon that has just been unmounted may still write its last log line.
_REMOVAL_TRIES = 20
_REMOVAL_PAUSE_S = 0.1


def mounted_at_or_below(path: Path) -> list[Path]:
    """Live mounts that a walk of ``path`` would enter; ``path`` is absolute, without symlinks.

    Read from the kernel's table: to touch a dead or a stalled mount would hang or fail.
    """
    table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    mountpoints = (Path(entry.mountpoint) for entry in parse_mountinfo(table))
    return [mountpoint for mountpoint in mountpoints if mountpoint.is_relative_to(path)]


class Workspace:
    """A new folder that only this user can enter.

    :ivar root: its path, absolute and without symlinks.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="backlotfs-demo-")).resolve()

    def folder(self, name: str) -> Path:
        """A folder in it, made when it is not there."""
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def remove(self) -> str | None:
        """Delete it all; None when it is gone, else a sentence that says why it is not.

        With a mount still in it nothing is touched: deleting through a mount is not ours to do.
        """
        alive = mounted_at_or_below(self.root)
        if alive:
            paths = " ".join(str(path) for path in alive)
            return (
                f"{paths} is still mounted, so {self.root} was not removed. "
                f"To end it: fusermount3 -u -z {paths}; rm -r {self.root}"
            )
        for _ in range(_REMOVAL_TRIES):
            self._make_removable()
            shutil.rmtree(self.root, ignore_errors=True)
            if not self.root.exists():
                return None
            time.sleep(_REMOVAL_PAUSE_S)
        return f"{self.root} could not be removed whole; to remove it: rm -r {self.root}"

    def _make_removable(self) -> None:
        # rsync -a copies the mode of the mount's folders, out of which only root may delete
        for folder, _, _ in os.walk(self.root):
            with suppress(OSError):
                os.chmod(folder, 0o700)
