# SPDX-License-Identifier: Apache-2.0
"""Exports onto disks that do not keep the times of files: nothing is copied again for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from backlotfs.export.destination import TIMES
from tests.support.long_runs import few_of
from tests.support.odd_disk import odd_disk

pytestmark = pytest.mark.mounted

S = 1_000_000_000
FIRST, LAST = 315_532_800 * S, 4_354_819_198 * S  # of FAT: 1980-01-01 to 2107-12-31
#: Exact as long as it is mounted: Linux shows files of FAT so until they leave its memory.
ALWAYS = 2**30
KINDS = {
    "FAT": {"step": 2 * S, "first": FIRST, "last": LAST},
    "exact until it is mounted again": {"step": 2 * S, "first": FIRST, "exact_looks": ALWAYS},
    "exact for two looks": {"step": 2 * S, "first": FIRST, "exact_looks": 2},
    "rounds up": {"step": -2 * S},
    "whole seconds": {"step": S},
    "whole days": {"step": 86_400 * S},
    "32 bits": {"step": S, "last": (2**31 - 1) * S, "exact_looks": ALWAYS},
    "takes no time": {"refuses": 1},
}
#: Name to time in ns.
SOURCES = {
    "even.mov": 1_400_000_000 * S,
    "odd.mov": 1_400_000_001 * S,
    "fraction.mov": 1_400_000_001 * S + 999_999_999,
    "1970.mov": 0,
    "2106.mov": (2**32 - 1) * S,
}


class Copying:
    """A library, and its copy on a disk that is mounted anew for each command."""

    def __init__(self, folder: Path, kind: dict[str, int]) -> None:
        self.library, self.root, self.disk = folder / "library", folder / "root", folder / "disk"
        self.kind = kind
        for each in (self.library, self.root, self.disk):
            each.mkdir()
        for name, time_ns in SOURCES.items():
            self.write(name, name.encode() * 1000, time_ns)

    def write(self, name: str, data: bytes, time_ns: int) -> None:
        """Make a source, or another version of one."""
        (self.library / name).write_bytes(data)
        os.utime(self.library / name, ns=(time_ns, time_ns))

    def mounted(self) -> AbstractContextManager[None]:
        """The disk, for one command."""
        return odd_disk(self.disk, self.root, self.kind)

    def run(self, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command of backlotfs, which succeeds."""
        with self.mounted():
            done = subprocess.run(
                [sys.executable, "-m", "backlotfs", command, *arguments],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip  # one program's arguments
        assert done.returncode == 0, done.stderr
        return done

    def export(self) -> dict[str, str]:
        """State by name."""
        done = self.run("export", "--json", f"{self.library}/", self.disk)
        return {file["name"]: file["state"] for file in json.loads(done.stdout)["files"]}

    def assert_equal(self) -> None:
        """The copy has the bytes of every source, and verifies; nothing else is named."""
        for path in self.library.iterdir():
            assert (self.root / path.name).read_bytes() == path.read_bytes()
        assert "not in the manifest" not in self.run("verify", self.disk).stdout


@pytest.fixture(params=few_of(KINDS, "FAT"))
def copying(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Copying]:
    """Everything exported once."""
    copying = Copying(tmp_path, KINDS[request.param])
    assert Counter(copying.export().values()) == {"copied": len(SOURCES)}
    yield copying
    copying.assert_equal()


def test_only_a_replaced_source_is_copied_again(copying: Copying) -> None:
    """One of the same size, and of a time that the disk may not tell from the one before."""
    assert Counter(copying.export().values()) == {"unchanged": len(SOURCES)}
    plan = copying.run("export", "--dry-run", f"{copying.library}/", copying.disk).stdout
    assert f"0 files, 0 B, to copy; {len(SOURCES)} unchanged" in plan
    distances_ns = dict(zip(SOURCES, (1, S, -S, 2 * S, -1), strict=True))
    for name, time_ns in SOURCES.items():
        copying.write(name, b"X" * len(name) * 1000, time_ns + distances_ns[name])
    assert Counter(copying.export().values()) == {"copied": len(SOURCES)}
    assert Counter(copying.export().values()) == {"unchanged": len(SOURCES)}


@pytest.mark.long
def test_the_file_of_times_is_lost(copying: Copying) -> None:
    """Then the bytes tell: the same ones are read once, and not copied; others are never missed."""
    (copying.root / TIMES).unlink(missing_ok=True)
    copying.write("odd.mov", b"X" * 7000, SOURCES["odd.mov"] - 1)
    states = copying.export()
    assert states.pop("odd.mov") == "copied"
    if not (copying.kind.get("refuses") or copying.kind.get("step", 1) > 2 * S):
        assert set(states.values()) <= {"unchanged", "verified"}
    assert Counter(copying.export().values()) == {"unchanged": len(SOURCES)}


@pytest.mark.long
def test_a_changed_copy_is_replaced(copying: Copying) -> None:
    """It has the time of the change, or another size."""
    (copying.root / "odd.mov").write_bytes(b"Y" * 7000)
    later_s = time.time() + 60  # a disk that takes no time tells two seconds apart at best
    os.utime(copying.root / "odd.mov", (later_s, later_s))
    (copying.root / "even.mov").write_bytes(b"Y")
    states = copying.export()
    assert (states.pop("odd.mov"), states.pop("even.mov")) == ("copied", "copied")
    assert set(states.values()) == {"unchanged"}
