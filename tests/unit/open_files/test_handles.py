"""Open files by number."""

from __future__ import annotations

import pytest

from backlotfs.errors import BadHandle
from backlotfs.open_files.reader import FileHandle, HandleTable
from backlotfs.prefetch.registry import PrefetcherRegistry
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version
from tests.fakes.workers import in_threads, join_all

V1, V2 = source_version(), source_version(etag='"v2"')
PLANS = PrefetcherRegistry(ManualClock(), window_budget_bytes=0, block_bytes=1)


def opened(table: HandleTable, version: SourceVersion = V1) -> FileHandle:
    """A new handle."""
    return table.open(version, PLANS.of(version))[0]


def test_numbers_are_never_used_twice() -> None:
    """A late request for a closed file cannot reach another file."""
    table = HandleTable()
    first = opened(table)
    assert table.release(first.fh) is first
    second = opened(table)
    assert first.fh != second.fh
    assert table.get(second.fh) is second
    assert len(table) == 1


@pytest.mark.parametrize("fh", [0, -1, 99])
def test_unknown_numbers(fh: int) -> None:
    """EBADF for what is not open, at each use."""
    table = HandleTable()
    for use in (table.get, table.release):
        with pytest.raises(BadHandle, match=str(fh)):
            use(fh)


def test_released_twice() -> None:
    """The second time it is not open."""
    table = HandleTable()
    handle = opened(table)
    table.release(handle.fh)
    with pytest.raises(BadHandle):
        table.release(handle.fh)


def test_mark_changed() -> None:
    """Handles on another version are old; those on the current one, or another file, are not."""
    table = HandleTable()
    old, new, other = opened(table), opened(table, V2), opened(table, source_version("E2"))
    table.mark_changed("E1", V2)
    assert [handle.changed for handle in (old, new, other)] == [True, False, False]
    table.mark_changed("E1", V1)
    assert [handle.changed for handle in (old, new)] == [True, True], "once old, always old"


@pytest.mark.parametrize(("more", "larger"), [(1, True), (0, False), (-1, False)])
def test_replaced_by_larger(more: int, larger: bool) -> None:
    """By a larger version only, and for ever; never by one of which nothing is known."""
    table = HandleTable()
    handle = opened(table)
    table.mark_changed("E1", None)
    assert not handle.replaced_by_larger
    table.mark_changed("E1", source_version(etag='"v2"', size=V1.size + more))
    assert handle.replaced_by_larger is larger
    table.mark_changed("E1", source_version(etag='"v3"', size=0))
    assert handle.replaced_by_larger is larger


def test_mark_changed_to_an_unknown_version() -> None:
    """Every handle on it is old then."""
    table = HandleTable()
    handles = [opened(table), opened(table, V2)]
    table.mark_changed("E1", None)
    assert all(handle.changed for handle in handles)


def test_opened_from_many_threads() -> None:
    """Each gets a handle of its own."""
    table = HandleTable()
    numbers: list[int] = []
    join_all(in_threads(16, lambda _: numbers.append(opened(table).fh)))
    assert len(set(numbers)) == len(table) == 16


def test_a_handle_that_came_too_late_for_the_news_is_told_when_its_read_fails() -> None:
    """Opened on a version just after it was found replaced; others stay as they are."""
    table = HandleTable()
    old, new = opened(table, V1), opened(table, V2)
    table.mark_replaced(V1)
    assert (old.changed, new.changed) == (True, False)
