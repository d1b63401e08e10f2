# SPDX-License-Identifier: Apache-2.0
"""Which sources are pinned, and whether they fit."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from backlotfs.cache.disk.locked_directory import LockedDirectory
from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.pins import Pins, PinsFull
from backlotfs.config.settings import Quota
from backlotfs.errors import CacheUnusable
from tests.fakes.workers import in_threads, join_all
from tests.unit.cache.disk_blocks import BLOCK, keep, key, tier_at

#: Two blocks, the second of them short.
FIRST = Pin("E1", f'"v1"/{BLOCK + 10}')
SECOND = Pin("E2", f'"v1"/{BLOCK}')
THIRD = Pin("E3", f'"v1"/{BLOCK}')


def quota(blocks: int) -> Quota:
    """Room for so many."""
    return Quota(size=blocks * BLOCK)


def test_a_quota() -> None:
    """A share of what there is, or a size; never more than there is."""
    assert Quota(0.8).of(1000) == 800
    assert Quota(size=300).of(1000) == 300
    assert Quota(size=3000).of(1000) == 1000


def test_the_size_of_a_pin() -> None:
    """Is what its validator ends with."""
    assert (FIRST.size, Pin("E", "").size, Pin("E", '"a/b"/x').size) == (BLOCK + 10, 0, 0)


def test_pinned_and_let_go(tmp_path: Path) -> None:
    """In whole blocks; what was pinned before is not pinned again; a restart keeps it."""
    with tier_at(tmp_path / "t") as tier:
        pins = Pins(tier, quota(4))
        assert pins.add([FIRST, SECOND]) == [FIRST, SECOND]
        assert pins.add([SECOND]) == []
        keep(tier, key(0, "E1", FIRST.validator))
        assert (pins.needed_bytes, pins.cached_bytes, pins.quota_bytes) == (
            3 * BLOCK, BLOCK, 4 * BLOCK,
        )  # fmt: skip
        assert (pins.cached_bytes_of(FIRST), pins.cached_bytes_of(SECOND)) == (BLOCK, 0)
        keep(tier, key(1, "E1", FIRST.validator))
        assert pins.cached_bytes_of(FIRST) == FIRST.size
    with tier_at(tmp_path / "t") as tier:
        pins = Pins(tier, quota(4))
        assert (pins.of("E1"), pins.of("E3"), len(pins)) == (FIRST, None, 2)
        assert pins.cached_bytes_of(FIRST) == FIRST.size
        assert pins.remove(["E1", "E3"]) == [FIRST]
        assert (pins.all(), tier.pins()) == ([SECOND], [SECOND])
        assert key(0, "E1", FIRST.validator) in tier
        assert pins.remove(["E3"]) == []


def test_what_does_not_fit(tmp_path: Path) -> None:
    """None of it is pinned; what is pinned already may be named again."""
    with tier_at(tmp_path / "t") as tier:
        pins = Pins(tier, quota(3))
        pins.add([FIRST])
        with pytest.raises(PinsFull) as caught:
            pins.add([FIRST, SECOND, THIRD])
        assert (caught.value.wanted_bytes, caught.value.left_bytes) == (2 * BLOCK, BLOCK)
        assert pins.all() == tier.pins() == [FIRST]
        pins.add([FIRST, SECOND])
        smaller = Pins(tier, quota(1))
        smaller.check([FIRST, SECOND])
        with pytest.raises(PinsFull) as caught:
            smaller.check([THIRD])
        assert caught.value.left_bytes == 0


def test_what_a_smaller_tier_may_fetch(tmp_path: Path) -> None:
    """Of those that are pinned, as many as fit beside what is held."""
    with tier_at(tmp_path / "t") as tier:
        Pins(tier, quota(9)).add([FIRST, SECOND])
        pins = Pins(tier, quota(2))
        assert pins.fits(FIRST)
        keep(tier, key(0, "E2", SECOND.validator))
        assert not pins.fits(FIRST)
        assert pins.fits(SECOND)


def test_another_version(tmp_path: Path) -> None:
    """The pin goes with the source, the old blocks go at once; of what is not pinned they stay."""
    new = Pin("E1", '"v2"/5')
    with tier_at(tmp_path / "t") as tier:
        pins = Pins(tier, quota(9))
        pins.add([FIRST])
        old_blocks = [key(number, "E1", FIRST.validator) for number in (0, 1)]
        keep(tier, *old_blocks, key(0, "E2", SECOND.validator))
        for _ in range(2):
            pins.follow(new)
            assert pins.all() == tier.pins() == [new]
            assert tier.missing(old_blocks) == old_blocks
        pins.follow(SECOND)
        assert pins.of("E2") is None
        assert key(0, "E2", SECOND.validator) in tier
        keep(tier, key(0, "E1", new.validator))
        assert pins.add([FIRST]) == [FIRST]
        assert key(0, "E1", new.validator) not in tier


def test_pins_that_cannot_be_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are refused, and not let go: after a restart it would be the other way round."""
    with tier_at(tmp_path / "t") as tier:
        pins = Pins(tier, quota(9))
        pins.add([SECOND])

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as failing:
            failing.setattr(LockedDirectory, "replace", full)
            with pytest.raises(CacheUnusable, match="nothing was pinned"):
                pins.add([FIRST])
            with pytest.raises(CacheUnusable, match=r"nothing was unpinned: .* and unpin again"):
                pins.remove(["E2"])
            assert pins.all() == tier.pins() == [SECOND]
        assert pins.remove(["E2"]) == [SECOND]
        pins.add([THIRD])
        with monkeypatch.context() as failing:
            failing.setattr(LockedDirectory, "replace", full)
            assert pins.remove(["E3"], drop=True) == [THIRD]
        assert pins.all() == tier.pins() == []


def test_two_who_pin_at_once(tmp_path: Path) -> None:
    """Do not get together what each alone would have got."""
    both_look = threading.Barrier(2, timeout=10)

    class Looked(Quota):
        """Tells nobody before both have asked."""

        def of(self, whole_bytes: int) -> int:
            both_look.wait()
            return super().of(whole_bytes)

    with tier_at(tmp_path / "t") as tier:
        pins = Pins(tier, Looked(size=BLOCK))
        outcomes: list[object] = []

        def pin(one: Pin) -> None:
            try:
                outcomes.append(pins.add([one]))
            except PinsFull as full:
                outcomes.append(full.left_bytes)

        join_all(in_threads(2, lambda number: pin((SECOND, THIRD)[number])))
        assert sorted(map(str, outcomes)) == sorted(map(str, [0, pins.all()]))
        assert len(pins) == 1


def test_many_are_pinned_at_once(tmp_path: Path) -> None:
    """By one pass over the rows, to the same effect."""
    many = [Pin(f"E{number}", f'"v1"/{BLOCK}') for number in range(12)]
    with tier_at(tmp_path / "t", 32) as tier:  # a file takes a page more than its bytes
        blocks = [key(0, *pin) for pin in many]
        keep(tier, *blocks)
        pins = Pins(tier, quota(12))
        pins.add(many)
        keep(tier, *(key(number, "other") for number in range(40)))
        assert tier.missing(blocks) == []
        pins.remove(pin.embed_code for pin in many)
        keep(tier, *(key(number, "more") for number in range(40)))
        assert tier.missing(blocks) == blocks


def test_without_a_tier() -> None:
    """Nothing is pinned, and nothing can be: the sentence says what a mount needs."""
    pins = Pins(None, Quota(0.8))
    assert (pins.all(), pins.of("E1"), pins.cached_bytes, pins.needed_bytes) == ([], None, 0, 0)
    assert pins.remove(["E1"]) == []
    for refused in (lambda: pins.add([FIRST]), lambda: pins.quota_bytes):
        with pytest.raises(CacheUnusable, match="--cache-dir"):
            refused()
