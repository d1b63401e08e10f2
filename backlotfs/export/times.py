# SPDX-License-Identifier: Apache-2.0
"""Tells whether a copy is of the present version of its source, on disks that round times too.

Many disks do not keep the time that a file is given: FAT keeps every second second, ext3 and HFS+
whole seconds, exFAT 10 ms, NTFS 100 ns. They round down or up, move times before 1980 or after
2038 to the nearest one they have, or take no time at all. Some show the exact time at first and
another one once the file has left the memory of the system. FAT has local times, which move by
whole hours when the clock does.

So the time of a copy is not compared with that of its source where the disk may have changed it.
Instead the export writes down both: the time that the source had (exact, in a file of its own in
DEST) and the time that the disk showed of the copy. A copy is unchanged if its source has exactly
the first, and the copy the second, as exactly as that disk keeps it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

_S: Final = 1_000_000_000
_HOUR_NS: Final = 3600 * _S
#: Time zones differ from UTC by 14 hours at most.
_MOST_HOURS: Final = 14
#: The times that disks can hold which round to 2 s at most: from 1980-01-02 (FAT has 1980-01-01 in
#: the local time zone) to 2038-01-19 (signed seconds in 32 bits).
_EARLIEST_NS: Final = 315_619_200 * _S
_LATEST_NS: Final = (2**31 - 1) * _S
#: On these, a time that is read back is the time that stays. The disk behind FUSE, NFS or SMB is
#: not known.
_EXACT_TYPES: Final = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)
_LOCAL_TIME_TYPES: Final = frozenset({"msdos", "vfat"})
_MOUNT_ID: Final = re.compile(r"^mnt_id:\s*(\d+)$", re.M)


class TimePair(NamedTuple):
    """The modification times of a copy, as its disk showed it, and of the source, in ns."""

    copy_ns: int
    source_ns: int


class Comparison(StrEnum):
    """What the times of a copy and its source, which have the same size, say.

    UNKNOWN: the disk may show this time for several versions, so only the bytes can tell.
    """

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DiskTimes:
    """How exactly a disk keeps modification times.

    :ivar step_ns: a time can differ from the one that was set by less than this.
    :ivar earliest_ns: times before it are moved to it, or near it.
    :ivar latest_ns: times after it are moved to it, or near it.
    :ivar is_local: times are kept in the local time zone, so they can move by whole hours.
    """

    step_ns: int = 1
    earliest_ns: int = -(2**63)
    latest_ns: int = 2**63 - 1
    is_local: bool = False

    def same(self, one_ns: int, other_ns: int) -> bool:
        """Whether this disk can show both for one time."""
        return abs(self._clamped(one_ns) - self._clamped(other_ns)) < self.step_ns

    def keeps(self, time_ns: int) -> bool:
        """Whether this time, once it is shown for a file, stays as it is."""
        in_range = self.earliest_ns <= time_ns <= self.latest_ns
        return in_range and not self.is_local and time_ns % self.step_ns == 0

    def pair(self, copy_ns: int, source_ns: int) -> TimePair | None:
        """What has to be written down of a new copy; None: nothing, its time says it all."""
        if copy_ns == source_ns and self.keeps(source_ns):
            return None
        return TimePair(copy_ns, source_ns)

    def compare(self, copy_ns: int, source_ns: int, written: TimePair | None) -> Comparison:
        """Compare the times of a copy and its source.

        :param written: what was written down when the copy was made; None: nothing.
        """
        if written is not None and self._unmoved(copy_ns, written.copy_ns):
            same = source_ns == written.source_ns
            return Comparison.UNCHANGED if same else Comparison.CHANGED
        if copy_ns == source_ns and self.keeps(source_ns):
            return Comparison.UNCHANGED
        return Comparison.UNKNOWN if self.same(copy_ns, source_ns) else Comparison.CHANGED

    def _unmoved(self, now_ns: int, before_ns: int) -> bool:
        """Whether a copy that showed the time ``before_ns`` still has it."""
        if self.same(now_ns, before_ns):
            return True
        hours = round((now_ns - before_ns) / _HOUR_NS)
        in_zone = self.is_local and abs(hours) <= _MOST_HOURS
        return in_zone and self.same(now_ns - hours * _HOUR_NS, before_ns)

    def _clamped(self, time_ns: int) -> int:
        return min(max(time_ns, self.earliest_ns), self.latest_ns)


EXACT: Final = DiskTimes()
ROUNDED: Final = DiskTimes(2 * _S, _EARLIEST_NS, _LATEST_NS)
LOCAL: Final = DiskTimes(2 * _S, _EARLIEST_NS, _LATEST_NS, is_local=True)


def times_of(descriptor: int) -> DiskTimes:
    """How exactly the disk of an open folder keeps times, by its type of file system."""
    kind = _file_system_type(descriptor)
    if kind in _EXACT_TYPES:
        return EXACT
    return LOCAL if kind in _LOCAL_TIME_TYPES else ROUNDED


def _file_system_type(descriptor: int) -> str | None:
    """``ext4``, ``vfat``, ``fuse.sshfs`` …; None: this system does not say."""
    try:
        info = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii")
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    mount_id = _MOUNT_ID.search(info)
    for line in table.split("\n"):  # not splitlines: names may hold form feeds
        before, _, after = line.partition(" - ")
        if mount_id and before.startswith(f"{mount_id[1]} "):
            return after.partition(" ")[0]
    return None
