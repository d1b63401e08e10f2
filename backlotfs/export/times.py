# SPDX-License-Identifier: Apache-2.0
"""Finds out whether a copy is of the present version of its source, even on disks that round times.

Many disks do not keep exactly the time that a file is given. FAT keeps steps of 2 seconds, ext3 and
HFS+ whole seconds, exFAT 10 ms, NTFS 100 ns. They round down or up, replace times before 1980 or
after 2038 by the nearest one that they can keep, or ignore the given time. Some disks show the
exact time at first, and another one after the file has left the page cache. FAT keeps local times,
which change by whole hours with the local clock.

So the time of a copy is not compared with the time of its source if the disk may have changed it.
Instead the export records both: the exact time of the source, and the time of the copy that the
disk showed. They are in a separate file in DEST. A copy is unchanged if its source still has
exactly the recorded time, and the copy has its recorded time as exactly as the disk keeps it.
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
#: The times that all disks can keep that round to at most 2 s: from 1980-01-02 (FAT begins on
#: 1980-01-01 in the local time zone) to 2038-01-19 (signed seconds in 32 bits).
_EARLIEST_NS: Final = 315_619_200 * _S
_LATEST_NS: Final = (2**31 - 1) * _S
#: On these file systems, a time that is read back does not change later. Of FUSE, NFS and SMB the
#: disk behind them is not known.
_EXACT_TYPES: Final = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)
_LOCAL_TIME_TYPES: Final = frozenset({"msdos", "vfat"})
_MOUNT_ID: Final = re.compile(r"^mnt_id:\s*(\d+)$", re.M)


class TimePair(NamedTuple):
    """The modification times, in ns, of a copy (as its disk showed it) and of its source."""

    copy_ns: int
    source_ns: int


class Comparison(StrEnum):
    """The result of comparing the times of a copy and a source of the same size.

    UNKNOWN: the disk may show this time for several versions, so the bytes have to be compared.
    """

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DiskTimes:
    """How exactly a disk keeps modification times.

    :ivar step_ns: a shown time differs from the time that was set by less than this.
    :ivar earliest_ns: earlier times are replaced by this one, or by one near it.
    :ivar latest_ns: later times are replaced by this one, or by one near it.
    :ivar is_local: times are kept in the local time zone, so they may change by whole hours.
    """

    step_ns: int = 1
    earliest_ns: int = -(2**63)
    latest_ns: int = 2**63 - 1
    is_local: bool = False

    def same(self, one_ns: int, other_ns: int) -> bool:
        """Whether both can be what this disk shows for the same time."""
        return abs(self._clamped(one_ns) - self._clamped(other_ns)) < self.step_ns

    def keeps(self, time_ns: int) -> bool:
        """Whether this time, if the disk shows it for a file, will not change later."""
        in_range = self.earliest_ns <= time_ns <= self.latest_ns
        return in_range and not self.is_local and time_ns % self.step_ns == 0

    def pair(self, copy_ns: int, source_ns: int) -> TimePair | None:
        """The times to record for a new copy; None if the time of the copy is sufficient."""
        if copy_ns == source_ns and self.keeps(source_ns):
            return None
        return TimePair(copy_ns, source_ns)

    def compare(self, copy_ns: int, source_ns: int, written: TimePair | None) -> Comparison:
        """Compare the times of a copy and its source.

        :param written: the times that were recorded when the copy was made; None: there are none.
        """
        if written is not None and self._unmoved(copy_ns, written.copy_ns):
            same = source_ns == written.source_ns
            return Comparison.UNCHANGED if same else Comparison.CHANGED
        if copy_ns == source_ns and self.keeps(source_ns):
            return Comparison.UNCHANGED
        return Comparison.UNKNOWN if self.same(copy_ns, source_ns) else Comparison.CHANGED

    def _unmoved(self, now_ns: int, before_ns: int) -> bool:
        """Whether a copy that had the time ``before_ns`` still has it."""
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
    """How exactly the disk of an open folder keeps times, according to its file system type."""
    kind = _file_system_type(descriptor)
    if kind in _EXACT_TYPES:
        return EXACT
    return LOCAL if kind in _LOCAL_TIME_TYPES else ROUNDED


def _file_system_type(descriptor: int) -> str | None:
    """``ext4``, ``vfat``, ``fuse.sshfs`` …; None: the system does not show the type."""
    try:
        info = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii")
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    mount_id = _MOUNT_ID.search(info)
    for line in table.split("\n"):  # not `splitlines`, because names may contain form feeds
        before, _, after = line.partition(" - ")
        if mount_id and before.startswith(f"{mount_id[1]} "):
            return after.partition(" ")[0]
    return None
