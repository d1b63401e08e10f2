# SPDX-License-Identifier: Apache-2.0
"""The disk tier beside a dictionary, over restarts and crashes, and on damaged files."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import BlockKey
from tests.fakes.clocks import ManualClock
from tests.support.long_runs import runs
from tests.unit.cache.disk_blocks import (
    BLOCK,
    block_of,
    budget_for,
    disk_bytes,
    drop,
    pin,
    read,
    unpin,
)

keys = st.builds(
    BlockKey,
    st.sampled_from(["E1", "E2", "E3"]),
    st.sampled_from(['"v1"/9', '"v2"/9']),
    st.integers(0, 11),
)

FILES = ("slab", "index", "heads", "pins")


def length_of(key: BlockKey) -> int:
    """Some blocks are the short last ones of their files."""
    return 1000 if key.number == 11 else BLOCK


class TierMachine(RuleBasedStateMachine):
    """Whatever comes back is right; what goes is the least recently used that is not pinned."""

    def __init__(self) -> None:
        super().__init__()
        self.parent = Path(mkdtemp(prefix="disk-tier-"))
        self.folder = self.parent / "t0"
        self.clock = ManualClock()
        #: What must be there, least recently used first.
        self.model: dict[BlockKey, None] = {}
        self.pins: set[tuple[str, str]] = set()
        self.slots = 16
        self.tier = self._open()
        self.capacity = self.tier._table.capacity

    def _open(self) -> DiskTier:
        return DiskTier(self.folder, budget_for(self.slots), self.clock, block_bytes=BLOCK)

    @rule(key=keys)
    def put(self, key: BlockKey) -> None:
        """A block comes; the model says which one goes for it."""
        kept = self.tier.put(key, block_of(key, length_of(key)))
        assert self.tier.drain()
        if not kept:
            assert key in self.model
            return
        if len(self.model) == self.capacity:
            free = [old for old in self.model if old[:2] not in self.pins]
            if not free:
                return
            del self.model[free[0]]
        self.model[key] = None

    @rule(key=keys)
    def get(self, key: BlockKey) -> None:
        """What is in the model is there, whole."""
        found = read(self.tier, key)
        if key in self.model:
            assert found == block_of(key, length_of(key))
            del self.model[key]
            self.model[key] = None
        else:
            assert found is None

    @rule(first=st.integers(0, 11), count=st.integers(1, 12), source=keys)
    def get_run(self, first: int, count: int, source: BlockKey) -> None:
        """As one by one, but that all were used at the same time."""
        run = [source._replace(number=first + at) for at in range(count)]
        buffers = [memoryview(bytearray(BLOCK)) for _ in run]
        for key, length, buffer in zip(run, self.tier.get_many(run, buffers), buffers, strict=True):
            assert (length is not None) == (key in self.model)
            if length is not None:
                assert bytes(buffer[:length]) == block_of(key, length_of(key))
        for key in run:  # one more use each, so that the order is known
            if key in self.model:
                self.get(key)

    @rule(source=keys)
    def drop(self, source: BlockKey) -> None:
        """A version is unpinned, and its blocks are deleted."""
        dropped = source[:2]
        drop(self.tier, *dropped)
        self.model = {key: None for key in self.model if key[:2] != dropped}
        self.pins.discard(dropped)

    @rule(source=keys, pinned=st.booleans())
    def change_pin(self, source: BlockKey, pinned: bool) -> None:
        """It stays, or it may go again."""
        wanted = source[:2]
        if pinned:
            pin(self.tier, *wanted)
            self.pins.add(wanted)
        else:
            unpin(self.tier, *wanted)
            self.pins.discard(wanted)

    @rule()
    def restart(self) -> None:
        """Nothing is lost, the order neither."""
        self.tier.close()
        self.tier = self._open()

    @rule()
    def crash(self) -> None:
        """What the files hold now is all there is: every block, but the order of use may be old."""
        copy = self.parent / f"t{int(self.folder.name[1:]) + 1}"
        shutil.copytree(self.folder, copy)
        self.tier.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.tier = self._open()
        for key in list(self.model):
            self.get(key)

    @invariant()
    def agree(self) -> None:
        """The same blocks, the same pins, inside the budget."""
        assert self.tier.missing(self.model) == []
        assert self.tier.cached_bytes == len(self.model) * BLOCK
        assert disk_bytes(self.folder) <= self.tier.budget_bytes
        assert self.tier.pins() == sorted(Pin(*pin) for pin in self.pins)
        assert self.tier.counts.damaged == 0

    def teardown(self) -> None:
        """Leave nothing."""
        self.tier.close()
        shutil.rmtree(self.parent)


TestTierMachine = TierMachine.TestCase
TestTierMachine.settings = settings(max_examples=runs(60), stateful_step_count=60)

flips = st.lists(
    st.tuples(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=runs(150))
@given(flips=flips, more=st.lists(keys, max_size=30))
def test_flipped_bits_are_misses(flips: list[tuple[str, float, int]], more: list[BlockKey]) -> None:
    """Anywhere in any file: never a wrong byte, never an error, and the tier goes on working."""
    parent = Path(mkdtemp(prefix="disk-tier-"))
    try:
        _flip_and_read(parent / "t", flips, more)
    finally:
        shutil.rmtree(parent)


def _flip_and_read(folder: Path, flips: list[tuple[str, float, int]], more: list[BlockKey]) -> None:
    every = [
        BlockKey(code, version, number)
        for code in ("E1", "E2", "E3")
        for version in ('"v1"/9', '"v2"/9')
        for number in range(4)
    ]
    tier = DiskTier(folder, budget_for(20), ManualClock(), block_bytes=BLOCK)
    pin(tier)
    for key in every:
        tier.put(key, block_of(key, length_of(key)))
        tier.drain()
    tier.close()
    for name, where, mask in flips:
        data = bytearray((folder / name).read_bytes())
        # The rows begin after a page that says little.
        first = 4096 if name == "index" else 0
        at = first + int(where * (len(data) - first))
        data[at] ^= mask
        (folder / name).write_bytes(data)
    for _ in range(2):
        tier = DiskTier(folder, budget_for(20), ManualClock(), block_bytes=BLOCK)
        for key in every + more:
            assert read(tier, key) in (None, block_of(key, length_of(key)))
        for key in more:
            tier.put(key, block_of(key, length_of(key)))
            tier.drain()
            assert read(tier, key) in (None, block_of(key, length_of(key)))
        for key in every + more:
            assert read(tier, key) in (None, block_of(key, length_of(key)))
        assert disk_bytes(folder) <= tier.budget_bytes
        tier.close()
