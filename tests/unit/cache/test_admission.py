# SPDX-License-Identifier: Apache-2.0
"""Which blocks go to the disk tier: all, or those that come slower than a disk brings them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.cache.admission import (
    DECISION_TTL_S,
    DECISIONS_KEPT,
    DISK_BYTES_S,
    NEAR_BYTES_S,
    QUEUE_WAIT_S,
    DiskAdmission,
)
from backlotfs.cache.memory import BlockKey
from backlotfs.source.bandwidth import NEAR_S, HostStats
from tests.fakes.clocks import ManualClock
from tests.unit.cache.disk_blocks import block_of, key

SLOW = HostStats(0.03, 1e6, 1e6)
#: As fast as a disk, in all.
FAST = HostStats(0.03, 1e6, DISK_BYTES_S * 2)
#: Beside us: each connection would be, even if few were asked of it so far.
NEAR = HostStats(NEAR_S / 2, NEAR_BYTES_S * 2, 1e6)


class Tier:
    """Notes what it is given; has the even blocks, as long as the buffers."""

    def __init__(self) -> None:
        self.put_keys: list[BlockKey] = []
        self.waits_s: list[float] = []

    def missing(self, keys: Sequence[BlockKey]) -> list[BlockKey]:
        """The odd ones."""
        return [wanted for wanted in keys if wanted.number % 2]

    def get_many(self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]) -> list[int | None]:
        """The even ones; an empty buffer gets its block of no byte."""
        return [
            None if wanted.number % 2 else len(buffer)
            for wanted, buffer in zip(keys, buffers, strict=True)
        ]

    def put(
        self, key: BlockKey, block: memoryview, owner: object = None, *, wait_s: float = 0.0
    ) -> bool:
        """Note it."""
        assert bytes(block) == block_of(key)
        assert owner is self
        self.put_keys.append(key)
        self.waits_s.append(wait_s)
        return True


class Lines:
    """What is known of each source's line, and how often it was asked."""

    def __init__(self) -> None:
        self.of: dict[str, HostStats | None] = {}
        self.asked = 0

    def figures(self, embed_code: str) -> HostStats | None:
        """Of this source; None: nothing."""
        self.asked += 1
        return self.of.get(embed_code)


def put(shelf: DiskAdmission, tier: Tier, *keys: BlockKey) -> list[BlockKey]:
    """Offer these blocks; which of them the tier was given."""
    before = len(tier.put_keys)
    for wanted in keys:
        shelf.put(wanted, memoryview(block_of(wanted)), tier)
    return tier.put_keys[before:]


def test_what_it_has_is_what_the_tier_has() -> None:
    """In their order; a block of no byte is there too."""
    shelf = DiskAdmission(Tier(), ManualClock(), None)
    keys = [key(3), key(0), key(1), key(2)]
    assert shelf.missing(keys) == [key(3), key(1)]
    views = [memoryview(bytearray(size)) for size in (4, 0, 4, 4)]
    assert shelf.get(keys, views) == [False, True, False, True]


def test_who_has_given_a_size_keeps_all() -> None:
    """Whatever the line, and with patience where the disk is slower than it."""
    tier = Tier()
    shelf = DiskAdmission(tier, ManualClock(), None)
    assert put(shelf, tier, key(0), key(1)) == [key(0), key(1)]
    assert tier.waits_s == [QUEUE_WAIT_S] * 2


@pytest.mark.parametrize("asked", [True, False])
def test_a_version_that_only_its_size_tells_from_the_next_is_never_kept(asked: bool) -> None:
    """After a restart nobody could say whether it is still the same."""
    tier = Tier()
    shelf = DiskAdmission(tier, ManualClock(), None if asked else Lines().figures)
    anonymous = key(0, validator="/9")
    assert put(shelf, tier, anonymous, key(0)) == [key(0)]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (None, True),
        (SLOW, True),
        (FAST, False),
        (FAST._replace(total_bytes_per_s=DISK_BYTES_S), True),
        (NEAR, False),
        (NEAR._replace(latency_s=NEAR_S), True),
        (NEAR._replace(connection_bytes_per_s=NEAR_BYTES_S), True),
    ],
)
def test_what_comes_as_fast_as_from_a_disk_is_not_written(
    line: HostStats | None, kept: bool
) -> None:
    """And what is, without waiting: nobody has asked for it."""
    tier, lines = Tier(), Lines()
    lines.of["E1"] = line
    shelf = DiskAdmission(tier, ManualClock(), lines.figures)
    assert put(shelf, tier, key(0)) == ([key(0)] if kept else [])
    assert tier.waits_s == [0.0] * kept


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["E1", "E2", "E3"]),
            st.sampled_from([None, SLOW, FAST, NEAR]),
            st.floats(0.0, 3 * DECISION_TTL_S),
        ),
        max_size=40,
    )
)
def test_an_opinion_holds_for_a_moment(steps: list[tuple[str, HostStats | None, float]]) -> None:
    """Of each source its own, as a model of it says: asked again only when its time is over."""
    tier, lines, clock = Tier(), Lines(), ManualClock()
    shelf = DiskAdmission(tier, clock, lines.figures)
    opinions: dict[str, tuple[float, bool]] = {}
    asked = 0
    for number, (code, line, later_s) in enumerate(steps):
        clock.advance(later_s)
        lines.of[code] = line
        until_s, kept = opinions.get(code, (-1.0, False))
        if clock.monotonic() >= until_s:
            asked += 1
            kept = line in (None, SLOW)
            opinions[code] = (clock.monotonic() + DECISION_TTL_S, kept)
        wanted = key(number, code)
        assert put(shelf, tier, wanted) == ([wanted] if kept else [])
        assert lines.asked == asked


def test_decisions_of_many_sources_are_bounded() -> None:
    """Beyond so many they are formed anew; of those that come after, none is lost."""
    tier, lines = Tier(), Lines()
    shelf: Any = DiskAdmission(tier, ManualClock(), lines.figures)
    for number in range(3 * DECISIONS_KEPT):
        put(shelf, tier, key(0, f"E{number}"))
        assert len(shelf._decisions) <= DECISIONS_KEPT
    asked = lines.asked
    put(shelf, tier, key(1, f"E{3 * DECISIONS_KEPT - 1}"))
    assert lines.asked == asked
