# SPDX-License-Identifier: Apache-2.0
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

V1 = source_version()
PLANS = PrefetcherRegistry(ManualClock(), window_budget_bytes=0, block_bytes=1)


def opened(table: HandleTable, version: SourceVersion = V1) -> FileHandle:
    """A new handle."""
    return table.open(version, PLANS.of(version))


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


def test_opened_from_many_threads() -> None:
    """Each gets a handle of its own."""
    table = HandleTable()
    numbers: list[int] = []
    join_all(in_threads(16, lambda _: numbers.append(opened(table).fh)))
    assert len(set(numbers)) == len(table) == 16
