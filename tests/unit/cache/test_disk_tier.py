# SPDX-License-Identifier: Apache-2.0
"""The disk tier: what comes back, what goes first, what stays."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from backlotfs.cache.disk import write_queue
from backlotfs.cache.disk.key_hash import source_tag
from backlotfs.cache.disk.pin_file import Pin
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S
from tests.unit.cache.disk_blocks import (
    BLOCK,
    block_of,
    capacity,
    drop,
    keep,
    key,
    pin,
    read,
    tier_at,
    unpin,
)


def test_blocks_come_back_after_a_restart(tmp_path: Path) -> None:
    """Whole and short ones, of several sources."""
    whole, other = key(0), key(7, "E2")
    short = key(1)
    with tier_at(tmp_path / "t") as tier:
        keep(tier, whole, other)
        tier.put(short, block_of(short, 100))
    with tier_at(tmp_path / "t") as tier:
        assert read(tier, whole) == block_of(whole)
        assert read(tier, other) == block_of(other)
        assert read(tier, short) == block_of(short, 100)
        assert tier.counts.hits == 3


def test_an_absent_block_is_a_miss(tmp_path: Path) -> None:
    """Another number, another version, another source: each is another block."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, key(0))
        for absent in (key(1), key(0, validator='"v2"/9'), key(0, "E2")):
            assert read(tier, absent) is None
            assert absent not in tier
        assert tier.missing([key(1), key(0), key(2)]) == [key(1), key(2)]
        assert tier.counts.misses == 3


def test_many_are_read_at_once(tmp_path: Path) -> None:
    """In whatever order they lie, with gaps, into whole buffers or into one of the exact size."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, key(2), key(3), key(0), key(1), key(5))
        tier.put(key(6), block_of(key(6), 10))
        tier.drain()
        keys = [key(number) for number in range(7)]
        buffers = [memoryview(bytearray(BLOCK)) for _ in range(6)] + [memoryview(bytearray(10))]
        assert tier.get_many(keys, buffers) == [BLOCK] * 4 + [None, BLOCK, 10]
        for wanted, buffer in zip(keys, buffers, strict=True):
            if wanted.number != 4:
                assert bytes(buffer) == block_of(wanted, len(buffer))


def test_a_checksum_is_of_one_block_of_one_version() -> None:
    """The same bytes as another block, or of another version, do not verify."""
    tags = [source_tag("E1", "v1"), source_tag("E1", "v2"), source_tag("E2", "v1")]
    checksums = {tag.checksum(number, b"bytes") for tag in tags for number in range(3)}
    assert len(checksums) == 9


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    """Reading counts as use, looking does not; a block of the same file goes as any other."""
    with tier_at(tmp_path / "t", 16) as tier:
        slots = capacity(tier, tmp_path / "t")
        drop(tier, "filler")
        keep(tier, *(key(number) for number in range(slots)))
        assert read(tier, key(0)) is not None
        assert key(1) in tier
        keep(tier, key(slots), key(slots + 1))
        assert key(0) in tier
        assert tier.missing(key(number) for number in range(slots + 2)) == [key(1), key(2)]
        assert tier.counts.evicted >= 2


def test_the_order_of_use_survives_a_restart(tmp_path: Path) -> None:
    """What was read before the restart outlives what was not."""
    with tier_at(tmp_path / "t", 16) as tier:
        slots = capacity(tier, tmp_path / "t")
        drop(tier, "filler")
        keep(tier, *(key(number) for number in range(slots)))
        read(tier, key(0))
    with tier_at(tmp_path / "t", 16) as tier:
        keep(tier, key(slots))
        assert key(0) in tier
        assert key(1) not in tier


def test_the_order_of_use_is_saved_now_and_then(tmp_path: Path) -> None:
    """A minute later a block that is written takes it to the disk, for the case of a crash."""
    clock = ManualClock()
    with tier_at(tmp_path / "t", clock=clock) as tier:
        keep(tier, key(0), key(1))
        before = (tmp_path / "t" / "index").read_bytes()[: 4096 + 80]
        read(tier, key(0))
        clock.advance(61)
        keep(tier, key(2))
        assert (tmp_path / "t" / "index").read_bytes()[: 4096 + 80] != before


def test_a_pinned_source_stays(tmp_path: Path) -> None:
    """Its blocks, earlier and later ones, also after a restart; not once it is unpinned."""
    with tier_at(tmp_path / "t", 16) as tier:
        keep(tier, key(0))
        pin(tier)
        keep(tier, key(1))
        slots = capacity(tier, tmp_path / "t")
        assert tier.missing([key(0), key(1)]) == []
    with tier_at(tmp_path / "t", 16) as tier:
        assert tier.pins() == [Pin("E1", '"v1"/9')]
        keep(tier, *(key(number, "E2") for number in range(2 * slots)))
        assert tier.missing([key(0), key(1)]) == []
        unpin(tier)
        keep(tier, *(key(number, "E3") for number in range(slots)))
        assert tier.missing([key(0), key(1)]) == [key(0), key(1)]
        assert tier.pins() == []


def test_an_unpinned_block_goes_by_its_age(tmp_path: Path) -> None:
    """The next to go is the oldest, though others were chosen while it was pinned."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, key(0))
        pin(tier)
        capacity(tier, tmp_path / "t")
        keep(tier, key(0, "E2"))  # one goes for it, and those that follow are chosen
        unpin(tier)
        keep(tier, key(1, "E2"))
        assert tier.missing([key(0), key(0, "E2"), key(1, "E2")]) == [key(0)]


def test_pins_may_fill_the_tier(tmp_path: Path) -> None:
    """Then others are not kept, until a pin goes."""
    with tier_at(tmp_path / "t", 16) as tier:
        pin(tier, "filler")
        capacity(tier, tmp_path / "t")
        keep(tier, key(0))
        assert key(0) not in tier
        unpin(tier, "filler")
        keep(tier, key(0))
        assert read(tier, key(0)) == block_of(key(0))


def test_a_dropped_version_is_gone(tmp_path: Path) -> None:
    """Its blocks and its pin, and nothing else; also after a restart."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, key(0), key(1), key(0, validator='"v2"/9'), key(0, "E2"))
        pin(tier)
        drop(tier)
        assert tier.cached_bytes == 2 * BLOCK
        assert tier.pins() == []
    with tier_at(tmp_path / "t") as tier:
        assert tier.missing([key(0), key(1)]) == [key(0), key(1)]
        other = key(0, validator='"v2"/9')
        assert read(tier, other) == block_of(other)
        assert read(tier, key(0, "E2")) == block_of(key(0, "E2"))


def test_a_tier_with_a_stopped_disk_does_not_keep_its_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk rests after an error, blocks are turned away; later it is tried again."""
    clock = ManualClock()
    with tier_at(tmp_path / "t", clock=clock) as tier:
        files = tier._files
        with monkeypatch.context() as failing:
            failing.setattr(files, "write", _fails)
            assert tier.put(key(0), block_of(key(0)))
            tier.drain()
        assert not tier.put(key(0), block_of(key(0)))
        assert tier.counts.rejected == 1
        clock.advance(61)
        keep(tier, key(0))
        assert read(tier, key(0)) == block_of(key(0))


def test_rows_that_cannot_be_saved_let_the_disk_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written can be read, more is not written for now, and one warning says so."""
    clock = ManualClock()
    with tier_at(tmp_path / "t", clock=clock) as tier:
        with monkeypatch.context() as failing:
            failing.setattr(tier._files, "save", _fails)
            failing.setattr(tier._files, "save_all", _fails)
            clock.advance(61)
            keep(tier, key(0))
        assert read(tier, key(0)) == block_of(key(0))
        assert not tier.put(key(1), block_of(key(1)))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_disk_that_hangs_does_not_keep_a_mount_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tier closes after a while; its files are left to the thread that hangs."""
    monkeypatch.setattr(write_queue, "_CLOSE_TIMEOUT_S", 0.01)
    with tier_at(tmp_path / "t") as tier:
        gate = threading.Event()

        def held(slot: int, block: bytes) -> None:
            assert gate.wait(PATIENCE_S)

        monkeypatch.setattr(tier._files, "write", held)
        tier.put(key(0), block_of(key(0)))
        tier.close()
        assert read(tier, key(0)) is None
        gate.set()
        assert tier.drain()
        tier._queue.close()
        tier._folder.close()


def test_a_disk_that_cannot_be_read_is_a_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the block is dropped."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, key(0))
        with monkeypatch.context() as failing:
            failing.setattr(tier._files, "read", _fails)
            assert read(tier, key(0)) is None
        assert key(0) not in tier
        assert tier.counts.damaged == 1


def test_a_slot_that_got_its_block_back_while_it_was_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader sees another block, although the slot has its own before and after."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, key(0))
        read_slot = tier._files.read

        def overtaken(slot: int, buffers: Sequence[memoryview]) -> int:
            drop(tier)
            keep(tier, key(0, "E2"))
            count = read_slot(slot, buffers)
            drop(tier, "E2")
            keep(tier, key(0))
            return count

        with monkeypatch.context() as patched:
            patched.setattr(tier._files, "read", overtaken)
            assert read(tier, key(0)) is None
        assert tier.counts.damaged == 0
        assert read(tier, key(0)) == block_of(key(0))


def test_memory_that_is_used_again_too_early_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checksum is of the block as it was handed over."""
    with tier_at(tmp_path / "t") as tier:
        gate, write = threading.Event(), tier._files.write

        def held(slot: int, block: bytes) -> None:
            assert gate.wait(PATIENCE_S)
            write(slot, block)

        monkeypatch.setattr(tier._files, "write", held)
        memory = bytearray(block_of(key(0)))
        assert tier.put(key(0), memory)
        memory[:] = block_of(key(1))
        gate.set()
        assert tier.drain()
        assert key(0) in tier
        assert read(tier, key(0)) is None
        assert tier.counts.damaged == 1


def test_a_full_queue_turns_blocks_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller does not wait for a slow disk; a block that waits already is not queued again."""
    with tier_at(tmp_path / "t", queued_blocks=2) as tier:
        gate, write = threading.Event(), tier._files.write

        def held(slot: int, block: bytes) -> None:
            assert gate.wait(PATIENCE_S)
            write(slot, block)

        monkeypatch.setattr(tier._files, "write", held)
        assert tier.put(key(0), block_of(key(0)))
        assert not tier.put(key(0), block_of(key(0)))
        assert tier.put(key(1), block_of(key(1)))
        assert not tier.put(key(2), block_of(key(2)))
        assert tier.counts.rejected == 1
        gate.set()
        assert tier.drain()
        assert tier.cached_bytes == 2 * BLOCK


def test_what_is_no_block_is_not_kept(tmp_path: Path) -> None:
    """Empty, too long, or with a number that no file is long enough for."""
    with tier_at(tmp_path / "t") as tier:
        assert not tier.put(key(0), b"")
        assert not tier.put(key(0), bytes(BLOCK + 1))
        assert not tier.put(key(2**32), b"x")
        assert not tier.put(key(-1), b"x")


def test_a_closed_tier_answers_nothing(tmp_path: Path) -> None:
    """And does not fail; closing twice is closing once."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, key(0))
        tier.close()
        assert read(tier, key(0)) is None
        assert not tier.put(key(1), block_of(key(1)))
        pin(tier)
        unpin(tier)
        drop(tier)
        assert not tier.change_pins(add={Pin("E1", "v")})


def _fails(*_: object) -> int:
    raise OSError(5, "Input/output error")
