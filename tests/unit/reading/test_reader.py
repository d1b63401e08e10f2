"""Open, read, flush and release."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.clock import Deadline
from backlotfs.errors import BadHandle, ContentChanged, RemoteUnavailable
from backlotfs.reading.reader import MAX_WINDOW_BYTES, MIN_WINDOW_BYTES
from backlotfs.remote.identity import SourceIdentity
from tests.unit.fakes import expected_bytes, fetch_at_once, identity, waiter
from tests.unit.reading.stack import ReadingStack
from tests.unit.reading.steps import StepFetch

MIB = 1 << 20
V1 = identity(size=105)


@pytest.mark.parametrize(
    ("offset", "size", "found"),
    [
        (0, 105, ByteRange(0, 105)),
        (3, 4, ByteRange(3, 7)),
        (10, 10, ByteRange(10, 20)),
        (9, 2, ByteRange(9, 11)),
        (100, 50, ByteRange(100, 105)),
        (104, 1, ByteRange(104, 105)),
        (105, 10, ByteRange(105, 105)),
        (10**15, 10, ByteRange(0, 0)),
        (0, 0, ByteRange(0, 0)),
    ],
)
def test_reads(offset: int, size: int, found: ByteRange) -> None:
    """Exactly the bytes, fewer only at the end of the file."""
    stack = ReadingStack()
    fh = stack.reader.open(V1).fh
    assert stack.reader.read(fh, offset, size, waiter()) == expected_bytes(V1, found)


def test_an_empty_file_needs_no_fetch() -> None:
    """Nothing can be asked of it."""

    fetch = StepFetch()
    stack = ReadingStack(fetch=fetch)
    fh = stack.reader.open(identity(size=0)).fh
    assert stack.reader.read(fh, 0, 100, waiter()) == b""
    assert fetch.ranges == []


def test_a_block_is_handed_over_uncopied() -> None:
    """A read of one whole block is the cached object itself."""
    stack = ReadingStack()
    fh = stack.reader.open(V1).fh
    first = stack.reader.read(fh, 10, 10, waiter())
    assert stack.reader.read(fh, 10, 10, waiter()) is first


def test_bad_handles() -> None:
    """EBADF for whatever is not open."""
    stack = ReadingStack()
    fh = stack.reader.open(V1).fh
    stack.reader.release(fh)
    for use in (
        lambda: stack.reader.read(fh, 0, 1, waiter()),
        lambda: stack.reader.flush(fh),
        lambda: stack.reader.release(fh),
    ):
        with pytest.raises(BadHandle):
            use()


def test_flush_tells_a_copying_program() -> None:
    """Once the source is another version; a handle on the new one is fine."""
    stack = ReadingStack()
    old = stack.reader.open(V1).fh
    stack.reader.flush(old)
    stack.handles.mark_changed("E1", None)
    new = stack.reader.open(identity(etag='"v2"')).fh
    with pytest.raises(ContentChanged, match="E1"):
        stack.reader.flush(old)
    stack.reader.flush(new)


def test_a_changed_source_is_stale_and_reported() -> None:
    """The read fails with it, cached blocks are still served, and the book is told."""
    replaced = False

    def fetch(
        identity: SourceIdentity,
        wanted: ByteRange,
        piece_bytes: int,
        sink: Callable[[bytes], None],
        deadline: Deadline,
    ) -> None:
        if replaced:
            raise ContentChanged("replaced")
        fetch_at_once(identity, wanted, piece_bytes, sink, deadline)

    stack = ReadingStack(fetch=fetch, window_bytes=0, ahead_bytes=0)
    fh = stack.reader.open(V1).fh
    kept = stack.reader.read(fh, 50, 10, waiter())
    replaced = True
    with pytest.raises(ContentChanged):
        stack.reader.read(fh, 90, 10, waiter())
    assert stack.changed == [V1]
    assert stack.reader.read(fh, 50, 10, waiter()) == kept


def test_an_error_of_the_network_is_the_reads() -> None:
    """And the next read tries again."""
    errors = [RemoteUnavailable("down")]

    def fetch(
        identity: SourceIdentity,
        wanted: ByteRange,
        piece_bytes: int,
        sink: Callable[[bytes], None],
        deadline: Deadline,
    ) -> None:
        if errors:
            raise errors.pop()
        fetch_at_once(identity, wanted, piece_bytes, sink, deadline)

    stack = ReadingStack(fetch=fetch)
    fh = stack.reader.open(V1).fh
    with pytest.raises(RemoteUnavailable):
        stack.reader.read(fh, 50, 10, waiter())
    assert stack.reader.read(fh, 50, 10, waiter()) == expected_bytes(V1, ByteRange(50, 60))


@pytest.mark.parametrize(
    ("budget", "files", "cap"),
    [
        (1024 * MIB, 1, MAX_WINDOW_BYTES),
        (96 * MIB, 1, MAX_WINDOW_BYTES),
        (96 * MIB, 4, 24 * MIB),
        (96 * MIB, 200, MIN_WINDOW_BYTES),
        (0, 1, MIN_WINDOW_BYTES),
    ],
)
def test_open_files_share_the_window_budget(budget: int, files: int, cap: int) -> None:
    """Each gets its part of it, within limits."""
    stack = ReadingStack(window_bytes=budget)
    fhs = [stack.reader.open(V1).fh for _ in range(files)]
    stack.reader.read(fhs[0], 0, 10, waiter())
    assert stack.handles.get(fhs[0]).planner.max_window_bytes == cap


def test_settling_opens_past_the_page_cache() -> None:
    """As the page cache's rules say."""
    stack = ReadingStack()
    assert stack.reader.open(V1, settling=True).mode.direct_io
    assert not stack.reader.open(V1).mode.direct_io
