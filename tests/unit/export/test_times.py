# SPDX-License-Identifier: Apache-2.0
"""Times on disks that round them: what each kind of disk makes of a time, and what is decided."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.export import times as module
from backlotfs.export.destination import Destination
from backlotfs.export.times import EXACT, LOCAL, ROUNDED, Comparison, DiskTimes, TimePair, times_of

S = 1_000_000_000
T = 1_400_000_001 * S  # an odd second
DOS_FIRST, DOS_LAST = 315_532_800 * S, 4_354_819_198 * S  # 1980-01-01, 2107-12-31 23:59:58


@dataclass(frozen=True)
class Disk:
    """A kind of disk.

    :ivar step_ns: it rounds times down to a multiple of this; less than 0: up.
    :ivar first_ns: of its range, and so ``last_ns``. :ivar shift_ns: moves what it shows later.
    :ivar lags: it shows the exact time until the file has left the memory of the system.
    :ivar fixed_ns: it takes no time at all, and shows this one.
    """

    type: str
    step_ns: int = 1
    first_ns: int = -(2**62)
    last_ns: int = 2**62
    shift_ns: int = 0
    lags: bool = False
    fixed_ns: int | None = None

    @property
    def times(self) -> DiskTimes:
        """What export takes it for."""
        if self.type == "vfat":
            return LOCAL
        return EXACT if self.type == "ext3" else ROUNDED

    def stored(self, time_ns: int) -> int:
        """What it makes of a time."""
        if self.fixed_ns is not None:
            return self.fixed_ns
        kept = min(max(time_ns, self.first_ns), self.last_ns)
        return kept - kept % self.step_ns

    def at_first(self, time_ns: int) -> int:
        """What it shows just after a time was set."""
        return time_ns if self.lags else self.stored(time_ns)

    def later(self, time_ns: int) -> int:
        """What it shows on another day."""
        return self.stored(time_ns) + self.shift_ns


DISKS = {
    "FAT": Disk("vfat", 2 * S, DOS_FIRST, DOS_LAST),
    "FAT, exact at first": Disk("vfat", 2 * S, DOS_FIRST, DOS_LAST, lags=True),
    "FAT after the end of DST": Disk("vfat", 2 * S, DOS_FIRST, DOS_LAST, shift_ns=-3600 * S),
    "FAT after the start of DST": Disk("vfat", 2 * S, DOS_FIRST, DOS_LAST, 3600 * S, lags=True),
    "FAT in the zone of Samoa": Disk("vfat", 2 * S, DOS_FIRST, DOS_LAST, shift_ns=13 * 3600 * S),
    "FAT behind SMB": Disk("cifs", 2 * S, DOS_FIRST, DOS_LAST),
    "FAT behind FUSE, exact at first": Disk("fuseblk", 2 * S, DOS_FIRST, DOS_LAST, lags=True),
    "rounds up to 2 s": Disk("fuse.x", -2 * S, DOS_FIRST, DOS_LAST),
    "rounds up to 2 s, exact at first": Disk("fuse.x", -2 * S, lags=True),
    "exFAT": Disk("exfat", 10_000_000, DOS_FIRST, DOS_LAST),
    "HFS+": Disk("hfsplus", S, -2_082_844_800 * S, 2_212_122_495 * S, lags=True),
    "NTFS": Disk("ntfs3", 100),
    "NFS to ext3": Disk("nfs4", S, -(2**31) * S, (2**31 - 1) * S),
    "ext3": Disk("ext3", S, -(2**31) * S, (2**31 - 1) * S),
    "whole minutes": Disk("fuse.x", 60 * S),
    "whole days": Disk("fuse.x", 86_400 * S),
    "takes no time": Disk("fuse.s3fs", fixed_ns=1_700_000_000 * S + 7),
    "NFS to xfs": Disk("nfs4"),
}  # fmt: skip  # a table
SOURCES = {
    "odd": T,
    "even": T + S,
    "with a fraction": T + 999_999_999,
    "even with a fraction": T + S + 1,
    "1970": 0,
    "1601, of a source that is no mount": -11_644_473_600 * S,
    "1979-12-31": DOS_FIRST - S,
    "2050": 2_524_608_001 * S,
    "2106-02-07": (2**32 - 1) * S,
}


@pytest.mark.parametrize("disk", DISKS.values(), ids=list(DISKS))
@pytest.mark.parametrize("source_ns", SOURCES.values(), ids=list(SOURCES))
def test_a_second_export_on_each_kind_of_disk(disk: Disk, source_ns: int) -> None:
    """Unchanged, without a look at the bytes; never so for a source of another time."""
    written = disk.times.pair(disk.at_first(source_ns), source_ns)
    found = disk.later(source_ns)
    assert disk.times.compare(found, source_ns, written) is Comparison.UNCHANGED
    for distance in (1, 100, S, 2 * S, 3600 * S):
        for replaced in (source_ns + distance, source_ns - distance):
            decision = disk.times.compare(found, replaced, written)
            assert decision is not Comparison.UNCHANGED
            assert decision is Comparison.CHANGED or written is None


FAT = DISKS["FAT"]


@pytest.mark.parametrize(
    ("disk", "found_ns", "source_ns", "decision"),
    [
        # the file that has the times is lost: only the bytes tell, and nothing is copied blindly
        (LOCAL, FAT.stored(T), T, Comparison.UNKNOWN),
        (ROUNDED, FAT.stored(T), T, Comparison.UNKNOWN),
        (ROUNDED, T + S, T, Comparison.UNKNOWN),
        (ROUNDED, DOS_FIRST, 0, Comparison.UNKNOWN),
        (ROUNDED, (2**31 - 1) * S, (2**32 - 1) * S, Comparison.UNKNOWN),
        (LOCAL, T + S, T + S, Comparison.UNKNOWN),
        # a time that such a disk can hold, and has
        (ROUNDED, T + S, T + S, Comparison.UNCHANGED),
        # two steps apart, or an hour without a proof that the clock moved
        (ROUNDED, T - S, T + S, Comparison.CHANGED),
        (LOCAL, T - S, T + S, Comparison.CHANGED),
        (LOCAL, FAT.stored(T) + 3600 * S, T, Comparison.CHANGED),
        (EXACT, T, T, Comparison.UNCHANGED),
        (EXACT, T, T + 1, Comparison.CHANGED),
        (EXACT, T - 1, T, Comparison.CHANGED),
    ],
)
def test_a_copy_of_which_nothing_is_written_down(
    disk: DiskTimes, found_ns: int, source_ns: int, decision: Comparison
) -> None:
    """Where the disk may show this time for another version, the time is no proof."""
    assert disk.compare(found_ns, source_ns, None) is decision


@pytest.mark.parametrize(
    ("disk", "moved_ns", "decision"),
    [
        (ROUNDED, 2 * S - 1, Comparison.UNCHANGED),
        (ROUNDED, 2 * S, Comparison.CHANGED),
        (ROUNDED, 3600 * S, Comparison.CHANGED),
        (LOCAL, -2 * S, Comparison.CHANGED),
        (LOCAL, 3600 * S, Comparison.UNCHANGED),
        (LOCAL, 1800 * S, Comparison.CHANGED),
        (LOCAL, 15 * 3600 * S, Comparison.CHANGED),
        (EXACT, 1, Comparison.CHANGED),
    ],
)
def test_a_copy_that_somebody_wrote_to(
    disk: DiskTimes, moved_ns: int, decision: Comparison
) -> None:
    """Its time has moved by more than the disk moves one."""
    written = TimePair(T - S, T + 60 * S)
    assert disk.compare(T - S + moved_ns, T + 60 * S, written) is decision


@given(st.lists(st.integers(-(2**40), 2**62), min_size=2, max_size=6))
def test_what_is_not_written_down_is_certain(times_ns: list[int]) -> None:
    """Versions of one source, one after the other: none is taken for another on a disk of 2 s."""
    disk = DISKS["FAT behind FUSE, exact at first"]
    for before_ns, after_ns in pairwise(times_ns):
        written = disk.times.pair(disk.at_first(before_ns), before_ns)
        decision = disk.times.compare(disk.later(before_ns), after_ns, written)
        assert (decision is Comparison.UNCHANGED) == (before_ns == after_ns)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *((kind, EXACT) for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay")),
        *((kind, LOCAL) for kind in ("vfat", "msdos")),
        *((kind, ROUNDED) for kind in ("exfat", "fuse.sshfs", "fuseblk", "nfs4", "cifs", "9p")),
        (None, ROUNDED),
    ],
)
def test_types_of_file_systems(
    kind: str | None, expected: DiskTimes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of one that is not known, nothing is taken for sure."""
    monkeypatch.setattr(module, "_file_system_type", lambda _descriptor: kind)
    with Destination.open(tmp_path) as destination:
        assert destination.times == expected


def test_the_type_of_a_folder_here(tmp_path: Path) -> None:
    """As findmnt says it: /proc is of a type of its own."""
    with Destination.open(Path("/proc")) as destination:
        assert module._file_system_type(destination.descriptor) == "proc"
        assert times_of(destination.descriptor) == ROUNDED
