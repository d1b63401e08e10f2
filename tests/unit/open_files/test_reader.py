# SPDX-License-Identifier: Apache-2.0
"""Open, read, flush and release."""

from __future__ import annotations

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.errors import BadHandle, ContentChanged, RemoteUnavailable
from tests.fakes.records import source_version
from tests.fakes.sources import StepFetch, expected_bytes, read_bytes
from tests.fakes.workers import HeldWorkers
from tests.unit.open_files.stack import ReadingStack

V1, V2 = source_version(size=105), source_version(etag='"v2"')


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
    fh = stack.reader.open(V1)
    assert read_bytes(stack.reader, fh, offset, size) == expected_bytes(V1, found)


def test_an_empty_file_needs_no_fetch() -> None:
    """Nothing can be asked of it."""

    fetch = StepFetch()
    stack = ReadingStack(fetch=fetch)
    fh = stack.reader.open(source_version(size=0))
    assert read_bytes(stack.reader, fh, 0, 100) == b""
    assert fetch.ranges == []


def test_bad_handles() -> None:
    """EBADF for whatever is not open."""
    stack = ReadingStack()
    fh = stack.reader.open(V1)
    stack.reader.release(fh)
    for use in (
        lambda: read_bytes(stack.reader, fh, 0, 1),
        lambda: stack.reader.flush(fh),
        lambda: stack.reader.release(fh),
    ):
        with pytest.raises(BadHandle):
            use()


def test_flush_tells_a_copying_program() -> None:
    """Once a read failed for good; other handles on the version, and on the new one, are fine."""
    stack = ReadingStack()
    failed, fine, new = (stack.reader.open(version) for version in (V1, V1, V2))
    stack.handles.get(failed).stale = True
    with pytest.raises(ContentChanged, match="E1"):
        stack.reader.flush(failed)
    stack.reader.flush(fine)
    stack.reader.flush(new)


def test_a_changed_source_is_stale_and_reported() -> None:
    """The read fails with it, cached blocks are still served, and the book is told."""
    fetch = StepFetch()
    stack = ReadingStack(fetch=fetch, ahead_bytes=0)
    fh = stack.reader.open(V1)
    kept = read_bytes(stack.reader, fh, 50, 10)
    fetch.fail_after(0, ContentChanged("replaced"))
    with pytest.raises(ContentChanged):
        read_bytes(stack.reader, fh, 90, 10)
    assert stack.changed == [V1]
    assert read_bytes(stack.reader, fh, 50, 10) == kept


def test_a_changed_source_is_reported_before_the_read_fails() -> None:
    """The program may close at once, and its close has to fail too."""
    fetch = StepFetch()
    workers = HeldWorkers()
    stack = ReadingStack(fetch=fetch, workers=workers, ahead_bytes=0)
    fh = stack.reader.open(V1)
    fetch.fail_after(0, ContentChanged("replaced"))
    demand = stack.reader.begin(fh, 90, 10)
    assert demand is not None
    known: list[list[object]] = []
    demand.add_done_callback(lambda: known.append([*stack.changed]))
    workers.run_all()
    assert known == [[V1]]


def test_an_error_of_the_network_is_the_reads() -> None:
    """And the next read tries again."""
    fetch = StepFetch()
    stack = ReadingStack(fetch=fetch)
    fh = stack.reader.open(V1)
    fetch.fail_after(0, RemoteUnavailable("down"))
    with pytest.raises(RemoteUnavailable):
        read_bytes(stack.reader, fh, 50, 10)
    assert read_bytes(stack.reader, fh, 50, 10) == expected_bytes(V1, ByteRange(50, 60))


def test_begin_never_waits() -> None:
    """What is to be waited for is handed over; beyond the end there is nothing."""
    workers = HeldWorkers()
    stack = ReadingStack(workers=workers)
    fh = stack.reader.open(V1)
    demand = stack.reader.begin(fh, 20, 10)
    assert demand is not None
    assert not demand.complete
    workers.run_all()
    assert demand.complete
    assert b"".join(demand.views()) == expected_bytes(V1, ByteRange(20, 30))
    assert stack.reader.begin(fh, 105, 10) is None
