# SPDX-License-Identifier: Apache-2.0
"""Sources whose bytes prove their offset and their version, and GETs that need no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.fetch.hosts import Host
from backlotfs.fetch.loader import PendingRead
from backlotfs.open_files.reader import SourceReader
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion
from tests.fakes.workers import waiter


def expected_bytes(source: SourceVersion, wanted: ByteRange) -> bytes:
    """What a source holds there: bytes that prove their offset and their version."""
    version = sum(source.validator.encode())
    return bytes((at ^ (at >> 8) ^ version) & 0xFF for at in range(wanted.start, wanted.stop))


def land(source: SourceVersion, reached: int, views: Sequence[memoryview]) -> int:
    """Fill ``views`` with what the source holds from ``reached`` on; where they end."""
    for view in views:
        view[:] = expected_bytes(source, ByteRange(reached, reached + len(view)))
        reached += len(view)
    return reached


def fetch_at_once(
    version: SourceVersion, wanted: ByteRange, landing: BufferSink, deadline: Deadline
) -> None:
    """A `fetch.loader.RangeGet` that needs no network."""
    reached = wanted.start
    while reached < wanted.stop:
        begins, reached = reached, land(version, reached, landing.buffers())
        landing.commit(reached - begins)


class StepFetch:
    """A `fetch.loader.RangeGet`.

    :ivar ranges: what was asked for, in order.
    :ivar between: called before each piece is delivered, and once after the last.
    """

    def __init__(self) -> None:
        self.ranges: list[ByteRange] = []
        self.remaining_s: list[float] = []
        self.between: Callable[[], None] = lambda: None
        self._failure: tuple[int, Exception | None] | None = None

    def fail_after(self, pieces: int, error: Exception) -> None:
        """Let the next fetch fail when it has filled so many rooms."""
        self._failure = pieces, error

    def stop_after(self, pieces: int) -> None:
        """Let the next fetch return as if that were all."""
        self._failure = pieces, None

    def __call__(
        self, version: SourceVersion, wanted: ByteRange, landing: BufferSink, deadline: Deadline
    ) -> None:
        views = landing.buffers()
        self.ranges.append(wanted)
        self.remaining_s.append(deadline.remaining_s())
        failure, self._failure = self._failure, None
        reached, number = wanted.start, 0
        while reached < wanted.stop:
            self.between()
            if failure is not None and failure[0] <= number:
                if failure[1] is not None:
                    raise failure[1]
                return
            begins, reached = reached, land(version, reached, views)
            landing.commit(reached - begins)
            number += 1
            views = landing.buffers() if reached < wanted.stop else []
        self.between()


class OneHost(Host):
    """A host with a limit that the test sets; when it is called, the host of all sources."""

    def __init__(self, limit: int = 12) -> None:
        super().__init__("")
        self.limit = limit

    @property
    def concurrency_limit(self) -> int:
        return self.limit

    def __call__(self, _embed_code: str) -> Host:
        return self


def result(read: PendingRead, patience: InterruptibleWait | None = None) -> bytes:
    """Wait for a read and return its bytes."""
    read.wait(patience or waiter())
    return b"".join(read.views())


def read_bytes(
    reader: SourceReader,
    fh: int,
    offset: int,
    size: int,
    patience: InterruptibleWait | None = None,
) -> bytes:
    """Read from an open file as the kernel does, and wait for the bytes."""
    read = reader.begin(fh, offset, size)
    if read is None:
        return b""
    read.look_ahead()
    return result(read, patience)
