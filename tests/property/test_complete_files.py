# SPDX-License-Identifier: Apache-2.0
"""Complete versions beside a model of real bytes, over restarts, kills, edits and evictions."""

from __future__ import annotations

import mmap
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier
from tests.fakes.clocks import ManualClock
from tests.support.long_runs import runs
from tests.unit.cache.disk_blocks import (
    BLOCK,
    block_of,
    budget_for,
    bytes_of,
    disk_bytes,
    files_in,
    key,
    read,
)

ALL_VERSIONS = [
    Pin(code, f"{validator}/{blocks * BLOCK - 100}")
    for code in ("E1", "E2", "E3")
    for validator in ('"v1"', '"v2"')
    for blocks in (1, 2, 3, 4)
]

versions = st.sampled_from(ALL_VERSIONS)

sizes = st.sampled_from([24, 40])


class FilesMachine(RuleBasedStateMachine):
    """Whatever comes back is right; what is pinned and unharmed stays; the limit holds."""

    def __init__(self) -> None:
        super().__init__()
        self.parent = Path(mkdtemp(prefix="complete-files-"))
        self.folder = self.parent / "t0"
        self.clock = ManualClock()
        self.slots = 40
        #: Versions that are pinned and complete, and that nothing has harmed since.
        self.safe: set[Pin] = set()
        #: Versions whose files may be harmed, which the tier has not noticed yet.
        self.doubtful: set[Pin] = set()
        self.pins: set[Pin] = set()
        self.mappings: list[tuple[Pin, mmap.mmap]] = []
        self.tier = self._open()

    def _open(self) -> DiskTier:
        return DiskTier(self.folder, budget_for(self.slots), self.clock, block_bytes=BLOCK)

    @rule(version=versions)
    def put_whole(self, version: Pin) -> None:
        """All its blocks come; if it is pinned and there is room, it is complete then."""
        if not self.tier.block_count(*version):
            self.doubtful.discard(version)
        for number in range(-(-version.size // BLOCK)):
            self.put(version, number)
        assert self.tier.drain_files()
        whole = self.tier.block_count(*version) == -(-version.size // BLOCK)
        if whole and version in self.pins - self.doubtful:
            self.safe.add(version)

    @rule(version=versions, number=st.integers(0, 3))
    def put(self, version: Pin, number: int) -> None:
        """One block comes."""
        number %= -(-version.size // BLOCK)
        wanted = key(number, *version)
        self.tier.put(wanted, block_of(wanted, min(BLOCK, version.size - number * BLOCK)))
        assert self.tier.drain_files()

    @rule(version=versions)
    def get(self, version: Pin) -> None:
        """Each block is right or absent; those of a safe version are there."""
        whole = bytes_of(version)
        for number in range(-(-version.size // BLOCK)):
            found = read(self.tier, key(number, *version))
            assert found in (None, whole[number * BLOCK : (number + 1) * BLOCK])
            assert found is not None or version not in self.safe

    @rule(version=versions, kept=st.booleans())
    def open_complete(self, version: Pin, kept: bool) -> None:
        """The file is right, and a mapping of it stays so."""
        file = self.tier.open_complete(*version)
        if file is None:
            assert self.tier.drain_files()
            return
        assert os.pread(file, 10**6, 0) == bytes_of(version)
        if kept:
            self.mappings.append((version, mmap.mmap(file, 0, prot=mmap.PROT_READ)))
        os.close(file)

    @rule(version=versions, pinned=st.booleans())
    def change_pin(self, version: Pin, pinned: bool) -> None:
        """Pinned within half of the room, as a quota sees to it."""
        if pinned and sum(-(-pin.size // BLOCK) for pin in self.pins) < 6:
            self.tier.change_pins(add={version})
            self.pins.add(version)
        elif not pinned:
            self.tier.change_pins(remove={version})
            self.pins.discard(version)
            self.safe.discard(version)

    @rule(version=versions)
    def drop(self, version: Pin) -> None:
        """Nothing is left of it."""
        self.tier.change_pins(remove={version}, drop={version})
        self.pins.discard(version)
        self.safe.discard(version)
        assert self.tier.block_count(*version) == 0
        self.doubtful.discard(version)

    @rule(slots=sizes)
    def restart(self, slots: int) -> None:
        """With another limit too, which holds at once."""
        self.tier.close()
        self.slots = slots
        self.tier = self._open()

    @rule()
    def kill(self) -> None:
        """What is on disk is all there is."""
        copy = self.parent / f"t{int(self.folder.name[1:]) + 1}"
        shutil.copytree(self.folder, copy)
        self.tier.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.tier = self._open()

    @rule(which=st.integers(0, 20), how=st.sampled_from(["edit", "cut", "remove"]))
    def harm(self, which: int, how: str) -> None:
        """Another program changes a file; nobody has it mapped."""
        files = files_in(self.folder)
        if not files or self.mappings:
            return
        path = files[which % len(files)]
        if how == "remove":
            path.unlink()
        elif how == "cut":
            os.truncate(path, path.stat().st_size // 2)
        else:
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 2)
                file.write(b"harm")
        self.safe.clear()
        self.doubtful.update(each for each in ALL_VERSIONS if self.tier.block_count(*each))

    @invariant()
    def agree(self) -> None:
        """The limit, the pins, the mappings."""
        assert disk_bytes(self.folder) <= self.tier.budget_bytes
        assert self.tier.pins() == sorted(self.pins)
        for version, mapping in self.mappings:
            assert mapping[:] == bytes_of(version)
        for version in self.safe:
            assert self.tier.block_count(*version) == -(-version.size // BLOCK)

    def teardown(self) -> None:
        """Leave nothing."""
        self.tier.close()
        for _, mapping in self.mappings:
            mapping.close()
        shutil.rmtree(self.parent)


TestFilesMachine = FilesMachine.TestCase
TestFilesMachine.settings = settings(max_examples=runs(60), stateful_step_count=50, deadline=None)
