# SPDX-License-Identifier: Apache-2.0
"""A source read to its end by large ranges."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import RemoteUnavailable
from backlotfs.fetch import stream as module
from backlotfs.fetch.stream import stream
from tests.fakes.records import source_version
from tests.fakes.sources import StepFetch, expected_bytes
from tests.fakes.workers import HeldWorkers, InlineWorkers, waiter
from tests.unit.open_files.stack import ReadingStack


@pytest.fixture(autouse=True, scope="module")
def small_gets() -> Iterator[None]:
    """GETs of 20 bytes or more: two blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST_GET_BYTES", 20)
        yield


@given(size=st.integers(0, 700), place=st.integers(0, 100), window_bytes=st.integers(1, 900))
def test_every_byte_in_order(size: int, place: int, window_bytes: int) -> None:
    """From any byte on, with any window; no byte is fetched twice."""
    version, fetch = source_version(size=size), StepFetch()
    offset = size * place // 100
    store = ReadingStack(fetch=fetch, workers=InlineWorkers()).store
    data = b"".join(stream(store, version, offset, window_bytes, waiter))
    assert data == expected_bytes(version, ByteRange(offset, size))
    fetched = sum(wanted.length for wanted in fetch.ranges)
    assert fetched <= size - offset + 10  # it begins with a whole block


def test_the_window_is_full_of_gets() -> None:
    """All are asked for before the first has come, and not more than there is room for."""
    fetch, workers = StepFetch(), HeldWorkers()
    store = ReadingStack(fetch=fetch, workers=workers).store
    version = source_version(size=1000)

    def arrive() -> InterruptibleWait:
        workers.run_all()
        return waiter()

    assert len(next(stream(store, version, 0, 100, arrive))) > 0
    assert fetch.ranges == [ByteRange(start, start + 20) for start in range(0, 100, 20)]


def test_a_get_does_not_exceed_the_window() -> None:
    """The window is no multiple of a GET: the last one waits."""
    fetch, workers = StepFetch(), HeldWorkers()
    store = ReadingStack(fetch=fetch, workers=workers).store

    def arrive() -> InterruptibleWait:
        workers.run_all()
        return waiter()

    assert len(next(stream(store, source_version(size=1000), 0, 110, arrive))) > 0
    assert sum(wanted.length for wanted in fetch.ranges) <= 110


def test_a_failure_ends_it() -> None:
    """With the reason."""
    fetch = StepFetch()
    fetch.fail_after(1, RemoteUnavailable("the host is gone"))
    store = ReadingStack(fetch=fetch, workers=InlineWorkers()).store
    with pytest.raises(RemoteUnavailable, match="gone"):
        list(stream(store, source_version(size=100), 0, 100, waiter))
