# SPDX-License-Identifier: Apache-2.0
"""The slot table on rows that nobody wrote so: it ends, and goes on giving slots away."""

from __future__ import annotations

import pytest

from backlotfs.cache.disk.slot_table import ROW_BYTES, Row, SlotTable

SOURCE = 0x0000_0002_0000_0001
_NUMBER, _USE, _NEXT = 1, 3, 4


def full_table(slots: int = 32, pinned: set[int] | None = None) -> SlotTable:
    """Blocks 0, 1, … of one source, in this order of use."""
    table = SlotTable(slots, pinned or set())
    for number in range(slots):
        table.advance()
        slot = table.allocate()
        assert slot is not None
        table.fill(slot, SOURCE, number, Row(100, number))
    return table


def reloaded(table: SlotTable, pinned: set[int] | None = None) -> SlotTable:
    """As after a restart."""
    again = SlotTable(table.capacity, pinned or set())
    again.row_bytes[:] = table.row_bytes
    again.head_bytes[:] = table.head_bytes
    again.loaded(table.high_water_mark, heads=True, on_disk=table.high_water_mark)
    return again


def word(table: SlotTable, slot: int, which: int, value: int) -> None:
    """Damage one word of a row."""
    at = slot * ROW_BYTES + which * 8
    table.row_bytes[at : at + 8] = value.to_bytes(8, "little")


def evict_all(table: SlotTable) -> list[int]:
    """The slots that are given away before one of them comes twice."""
    given = []
    for number in range(table.high_water_mark):
        table.advance()
        slot = table.allocate()
        assert slot is not None
        table.fill(slot, SOURCE + 8, number, Row(100, 0))
        given.append(slot)
    return given


def test_slots_are_given_away_in_the_order_of_use() -> None:
    """Each once, before any comes again; what was there cannot be found any more."""
    table = full_table()
    assert evict_all(table) == list(range(32))
    assert [table.find(SOURCE, number) for number in range(32)] == [-1] * 32
    assert [table.find(SOURCE + 8, number) for number in range(32)] == list(range(32))
    assert table.used_slots == 32


def test_a_ring_is_cut() -> None:
    """A chain that leads back into itself ends the search, and is not walked again."""
    table = full_table()
    first = table.find(SOURCE, 0)
    word(table, first, 0, SOURCE + 2**40)  # another source's: the search goes on
    word(table, first, _NEXT, first + 1)
    assert table.find(SOURCE, 0) == -1
    assert table.dirty_heads
    assert sorted(evict_all(table)) == list(range(32))


def test_a_slot_in_a_ring_can_be_given_away() -> None:
    """Unlinking ends too."""
    table = full_table()
    for slot in range(32):
        word(table, slot, _NEXT, (slot + 1) % 32 + 1)
    table.drop(3)
    word(table, 9, _NUMBER, 5 | 100 << 32)
    table.drop(9)
    assert sorted(evict_all(table)) == list(range(32))


@pytest.mark.parametrize("use", [2**63 - 1, 2**62 | 5, 7, 7 << 24 | 30])
def test_impossible_uses_are_mended(use: int) -> None:
    """A far future, or another's slot: after a restart every slot is given away in time."""
    table = full_table()
    for slot in range(4, 20):
        word(table, slot, _USE, use)
    table = reloaded(table)
    given = evict_all(table) + evict_all(table) + evict_all(table)
    assert set(given) == set(range(32))
    assert table.find(SOURCE, 31) == -1


def test_a_pin_that_nobody_made_is_taken_away() -> None:
    """After a restart without pins, such a slot is like all others."""
    table = full_table()
    word(table, 3, _USE, 1 << 63 | 4 << 24 | 3)
    assert sorted(evict_all(reloaded(table))) == list(range(32))


def test_pins_are_kept_while_the_rest_is_mended() -> None:
    """The pinned source's rows stay, the damaged one is given away."""
    table = full_table(pinned={SOURCE})
    word(table, 3, 0, SOURCE + 8)
    word(table, 3, _USE, 2**62 | 3)
    table = reloaded(table, {SOURCE})
    assert table.allocate() == 3
    table.fill(3, SOURCE, 99, Row(100, 0))
    assert table.allocate() is None
    assert table.allocate() is None
    table.pin({SOURCE}, stay=False)
    assert table.allocate() == 0


def test_slots_that_cannot_be_told_apart_are_mended_when_they_are_needed() -> None:
    """The choice of what goes never ends in nothing because rows are damaged."""
    table = full_table()
    for slot in range(32):
        word(table, slot, _USE, 1 << 24 | 2**24 - 1)
    assert sorted(evict_all(table)) == list(range(32))


def test_a_new_slot_without_room_is_taken_back() -> None:
    """Growth stops there, and goes on when the limit is lifted; an older slot is only dropped."""
    table = SlotTable(8, set())
    slots = [table.allocate() for _ in range(3)]
    assert slots == [0, 1, 2]
    assert table.retract(2)
    assert table.high_water_mark == table.limit == 2
    assert not table.retract(0)
    assert table.allocate() == 0
    table.limit = table.capacity
    assert table.allocate() == 2
