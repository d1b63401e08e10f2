# SPDX-License-Identifier: Apache-2.0
"""Pinned sources are made whole by themselves."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.byterange import ByteRange, block_span
from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import Block
from backlotfs.cache.pins import Pins
from backlotfs.config.settings import Quota
from backlotfs.errors import BacklotError, RemoteUnavailable, SourceGone
from backlotfs.fetch.loader import BlockLoader, PendingRead
from backlotfs.fetch.pin_reconciler import PinReconciler
from backlotfs.fetch.warm import Warmer
from backlotfs.log.traces import ReadSpan
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.support.deadlines import wait_until
from tests.unit.cache.disk_blocks import BLOCK, keep, key, tier_at


class Origin(BlockLoader):
    """A loader that has everything at once, or an error."""

    block_bytes = BLOCK

    def __init__(self) -> None:
        self.asked: list[tuple[str, range]] = []
        self.errors: dict[str, BacklotError] = {}

    def demand(
        self, version: SourceVersion, wanted: ByteRange, span: ReadSpan | None = None
    ) -> PendingRead:
        numbers = block_span(wanted, BLOCK)
        self.asked.append((version.embed_code, numbers))
        demand = PendingRead(wanted, BLOCK, threading.Lock(), "reading")
        demand.span = span
        for number in numbers:
            demand.deliver(number, Block(memoryview(bytes(min(BLOCK, version.size)))))
        if version.embed_code in self.errors:
            demand.fail(self.errors[version.embed_code])
        return demand


class Kept:
    """A keeper over a real tier, of which eight blocks may be pinned."""

    def __init__(self, tier: DiskTier) -> None:
        self.origin = Origin()
        self.tier = tier
        self.known: dict[str, SourceVersion] = {}
        self.pins = Pins(tier, Quota(size=8 * BLOCK))
        warmer = Warmer(self.origin, tier, step_bytes=2 * BLOCK)
        self.keeper = PinReconciler(self.pins, warmer, self.known.get, ManualClock())

    def source(self, code: str, blocks: int = 3, etag: str = '"v1"') -> Pin:
        """It has this version from now on."""
        self.known[code] = SourceVersion(code, blocks * BLOCK, etag, None)
        return Pin(code, self.known[code].validator)

    def pin(self, *codes: str) -> None:
        """Of three blocks each."""
        self.pins.add([self.source(code) for code in codes])

    def turn(self, *changed: str) -> bool:
        """One turn, these sources having changed."""
        for code in changed:
            self.keeper.source_changed(code)
        return self.keeper.reconcile()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """With nothing pinned yet."""
    with tier_at(tmp_path / "t") as tier:
        yield Kept(tier)


def test_what_is_missing_is_fetched(kept: Kept) -> None:
    """And only that; of what is whole or not pinned, nothing."""
    kept.pin("E1", "E2")
    keep(kept.tier, key(1, *kept.source("E1")))
    assert not kept.turn("E1", "E3")
    assert kept.origin.asked == [("E1", range(1)), ("E1", range(2, 3))]
    assert not kept.turn("E1")
    assert len(kept.origin.asked) == 2


def test_at_the_start_every_pin_is_looked_at(kept: Kept) -> None:
    """On a thread of its own, that goes on when something changes and ends with the mount."""
    kept.pin("E1", "E2")
    kept.keeper.start()
    pins = kept.pins
    wait_until(lambda: pins.cached_bytes == 6 * BLOCK, "both to be whole")
    new = kept.source("E1", 2, '"v2"')
    kept.keeper.source_changed("E1")
    wait_until(lambda: pins.cached_bytes_of(new) == new.size, "the new version")
    kept.keeper.close()
    wait_until(
        lambda: all(thread.name != "pin-keeper" for thread in threading.enumerate()), "its end"
    )


def test_after_the_disk_cache_was_made_again(kept: Kept, tmp_path: Path) -> None:
    """Every pin is fetched again, also when the loss is noticed while pins change."""
    kept.tier.on_loss = kept.keeper.check_all
    kept.pin("E1", "E2")
    assert not kept.turn("E1", "E2")
    shutil.rmtree(tmp_path / "t")
    kept.pins.remove(["E2"])
    assert kept.pins.cached_bytes == 0
    assert not kept.turn()
    assert kept.pins.cached_bytes == 3 * BLOCK


def test_a_replaced_source(kept: Kept) -> None:
    """Is fetched anew; while nobody knows its version it is left alone, and looked at later."""
    kept.pin("E1")
    assert not kept.turn("E1")
    old = kept.pins.of("E1")
    del kept.known["E1"]
    assert kept.turn("E1")
    assert kept.pins.of("E1") == old
    new = kept.source("E1", 4, '"v2"')
    assert not kept.turn()
    assert kept.pins.all() == [new]
    assert kept.pins.cached_bytes == 4 * BLOCK


def test_a_replacement_that_does_not_fit(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """Its pin stays, nothing is fetched, one line says what to do; room is used once there is."""
    kept.pin("E1", "E2")
    kept.turn("E1", "E2")
    kept.source("E1", 7, '"v2"')
    kept.origin.asked.clear()
    assert kept.turn("E1")
    assert kept.turn()
    assert kept.origin.asked == []
    [line] = {record.getMessage() for record in caplog.records}
    assert "--pin-quota" in line
    kept.pins.remove(["E2"])
    assert not kept.turn()
    assert kept.pins.cached_bytes == 7 * BLOCK


def test_an_origin_that_is_down(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """Is asked for one of them, later again; one line says so."""
    kept.pin("E1", "E2")
    kept.origin.errors["E1"] = RemoteUnavailable("source host h is down")
    assert kept.turn("E1", "E2")
    assert {code for code, _ in kept.origin.asked} == {"E1"}
    assert kept.turn()
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert len({record.getMessage() for record in caplog.records}) == 1
    kept.origin.errors.clear()
    assert not kept.turn()
    assert kept.pins.cached_bytes == 6 * BLOCK


def test_one_source_that_fails(kept: Kept) -> None:
    """Does not keep the others from being fetched."""
    kept.pin("E1", "E2")
    kept.origin.errors["E1"] = SourceGone("no such object")
    assert kept.turn("E1", "E2")
    assert kept.pins.cached_bytes == 3 * BLOCK


def test_one_source_that_fails_in_a_way_nobody_thought_of(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    """Is in the log, and looked at again later; the others are fetched."""
    kept.pin("E1", "E2")
    demand = kept.origin.demand

    def fail(
        version: SourceVersion, wanted: ByteRange, span: ReadSpan | None = None
    ) -> PendingRead:
        if version.embed_code == "E1":
            raise ZeroDivisionError
        return demand(version, wanted, span)

    kept.origin.demand = fail  # type: ignore[method-assign]  # a mistake of ours
    assert kept.turn("E1", "E2")
    assert kept.pins.cached_bytes == 3 * BLOCK
    assert "ZeroDivisionError" in caplog.text
    kept.origin.demand = demand  # type: ignore[method-assign]
    assert not kept.turn()
    assert kept.pins.cached_bytes == 6 * BLOCK


def test_a_deleted_source(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """Its pin and its blocks go; of one that is not pinned nobody speaks."""
    kept.pin("E1")
    kept.turn("E1")
    with caplog.at_level(logging.INFO):
        kept.keeper.deleted("E1")
        kept.keeper.deleted("E2")
    assert len(kept.pins) == 0
    assert kept.tier.drain_files()  # its file may be in the making
    assert kept.tier.cached_bytes == 0
    assert caplog.text.count("was deleted") == 1


def test_what_is_unpinned_meanwhile_is_not_fetched(kept: Kept) -> None:
    """Neither before its turn nor in the middle of it."""
    kept.pin("E1", "E2")
    kept.keeper.source_changed("E1")
    kept.keeper.source_changed("E2")
    kept.pins.remove(["E1"])
    demand = kept.origin.demand

    def unpin(
        version: SourceVersion, wanted: ByteRange, span: ReadSpan | None = None
    ) -> PendingRead:
        kept.pins.remove([version.embed_code])
        return demand(version, wanted, span)

    kept.origin.demand = unpin  # type: ignore[method-assign]  # as a user would, in between
    assert not kept.keeper.reconcile()
    assert kept.origin.asked == [("E2", range(2))]


def test_nothing_is_fetched_at_the_end(kept: Kept) -> None:
    """A closing mount begins nothing."""
    kept.pin("E1")
    kept.keeper.close()
    kept.turn("E1")
    assert kept.origin.asked == []
