"""What is mounted where, from ``/proc/self/mountinfo``.

Not from ``stat``: that hangs on a stalled mount, fails on a dead one, and root may not even look
at another user's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

#: The file system type of our mounts, as the kernel shows it.
FUSE_TYPE = "fuse.backlotfs"
#: The command that shows them.
SHOW_MOUNTS = f"findmnt -t {FUSE_TYPE}"
#: The type of mounts that were asked to look like another network file system (``--subtype``).
BORROWED_TYPE = "fuse.sshfs"
#: What is ours under that type: real ones are mounts of ``HOST:FOLDER``, seldom with all of these.
OUR_SOURCE = "backlot:"
_OUR_OPTIONS = frozenset({"ro", "nosuid", "nodev", "noexec"})

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo.

    :ivar options: per-mount and per-superblock options together.
    """

    mountpoint: str
    fs_type: str
    source: str
    options: frozenset[str]

    @property
    def ours(self) -> bool:
        """Whether backlotfs made it."""
        if self.fs_type != BORROWED_TYPE:
            return self.fs_type == FUSE_TYPE
        return self.source.startswith(OUR_SOURCE) and self.options >= _OUR_OPTIONS

    def made_by(self, uid: int) -> bool:
        """Whether backlotfs made it, run by this user: the kernel notes who opened the device."""
        return self.ours and f"user_id={uid}" in self.options


def parse_mountinfo(text: str) -> list[MountEntry]:
    """Parse proc(5)'s mountinfo; lines of another shape are skipped. Later lines lie on top."""
    entries = []
    for line in text.split("\n"):  # not splitlines: names may hold form feeds
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not separator or len(left) < 6 or len(right) < 3:
            continue
        options = frozenset(left[5].split(",")) | frozenset(right[2].split(","))
        entries.append(MountEntry(_unescape(left[4]), right[0], _unescape(right[1]), options))
    return entries


def mount_at(mountpoint: str | Path) -> MountEntry | None:
    """The topmost mount at exactly this (absolute, resolved) path, or None."""
    text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    found = [entry for entry in parse_mountinfo(text) if entry.mountpoint == str(mountpoint)]
    return found[-1] if found else None


def our_mounts() -> list[MountEntry]:
    """Every mount that backlotfs made and this process can see."""
    text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    return [entry for entry in parse_mountinfo(text) if entry.ours]


def _unescape(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), field)
