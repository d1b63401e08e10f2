"""Stand-ins that several layers' tests share: time, threads, sources and who waits for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from backlotfs.api.records import Asset
from backlotfs.byterange import ByteRange
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.concurrency.workers import Workers
from backlotfs.fetch.loader import PendingRead
from backlotfs.fetch.scheduler import HostLimit
from backlotfs.open_files.reader import SourceReader
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion
from tests.unit.api.manual_clock import ManualClock as ManualClock

#: More than any step of a test takes; a gate that is not opened by then fails the test.
PATIENCE_S = 30.0

LAST_MODIFIED = "Tue, 01 Mar 2016 21:49:25 GMT"
LAST_MODIFIED_S = 1_456_868_965


def asset(
    embed_code: str,
    file_name: str | None = "clip.mov",
    *,
    title: str = "",
    created_at_s: int = 1000,
    updated_at_s: int = 2000,
    asset_type: str = "video",
    status: str = "live",
) -> Asset:
    """A record of the library."""
    return Asset(embed_code, title, file_name, asset_type, status, created_at_s, updated_at_s, 0)


def identity(
    embed_code: str = "E1",
    size: int = 1000,
    *,
    etag: str | None = '"v1"',
    last_modified: str | None = LAST_MODIFIED,
) -> SourceVersion:
    """One version of a source."""
    return SourceVersion(embed_code, size, etag, last_modified)


def expected_bytes(source: SourceVersion, wanted: ByteRange) -> bytes:
    """What a source holds there: bytes that prove their offset and their version."""
    version = sum(source.validator.encode())
    return bytes((at ^ (at >> 8) ^ version) & 0xFF for at in range(wanted.start, wanted.stop))


def fetch_at_once(
    identity: SourceVersion, wanted: ByteRange, landing: BufferSink, deadline: Deadline
) -> None:
    """A `fetch.loader.RangeGet` that needs no network."""
    reached = wanted.start
    while reached < wanted.stop:
        reached = land(identity, reached, landing.buffers())
        landing.commit()


def land(source: SourceVersion, reached: int, views: Sequence[memoryview]) -> int:
    """Fill ``views`` with what the source holds from ``reached`` on; where they end."""
    for view in views:
        view[:] = expected_bytes(source, ByteRange(reached, reached + len(view)))
        reached += len(view)
    return reached


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


class OneHost:
    """A source host for all sources, with a limit that the test sets."""

    def __init__(self, concurrency_limit: int = 12) -> None:
        self.concurrency_limit = concurrency_limit

    def __call__(self, _embed_code: str) -> HostLimit:
        return self


def waiter(seconds: float = PATIENCE_S) -> InterruptibleWait:
    """The patience of an operation that nobody interrupts."""
    return InterruptibleWait(Deadline(seconds, SystemClock()), lambda: False)


class InlineWorkers(Workers):
    """Runs each job where it is submitted."""

    def __init__(self) -> None:
        super().__init__(1, "inline")

    def submit(self, job: Callable[[], None]) -> None:
        job()


class HeldWorkers(Workers):
    """Keeps jobs until the test runs them."""

    def __init__(self) -> None:
        super().__init__(1, "held")
        self.jobs: deque[Callable[[], None]] = deque()

    def submit(self, job: Callable[[], None]) -> None:
        self.jobs.append(job)

    def run_all(self) -> None:
        """Run what is held, and what that submits, in order."""
        while self.jobs:
            self.jobs.popleft()()

    def run_meanwhile(self) -> bool:
        """For an `InterruptibleWait`: run everything held while it waits; never interrupted."""
        self.run_all()
        return False


class GatedFetch:
    """A `fetch.loader.RangeGet` that holds each GET until the test opens the gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.calls: list[tuple[str, ByteRange]] = []
        self.errors: deque[Exception] = deque()
        self._entered = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __call__(
        self,
        identity: SourceVersion,
        wanted: ByteRange,
        landing: BufferSink,
        deadline: Deadline,
    ) -> None:
        landing.buffers()  # as the range fetcher does: raises when nobody wants it any more
        with self._lock:
            self.calls.append((identity.embed_code, wanted))
        self._entered.release()
        assert self.gate.wait(PATIENCE_S), "the test never opened the gate"
        with self._lock:
            error = self.errors.popleft() if self.errors else None
        if error is not None:
            raise error
        fetch_at_once(identity, wanted, landing, deadline)

    def wait_entered(self, count: int = 1) -> None:
        """Return once ``count`` more GETs have begun."""
        for _ in range(count):
            assert self._entered.acquire(timeout=PATIENCE_S), "no GET was begun"


def in_threads(count: int, call: Callable[[int], object]) -> list[threading.Thread]:
    """Start ``call(0)`` … at the same moment, each on a thread of its own."""
    barrier = threading.Barrier(count)

    def body(number: int) -> None:
        barrier.wait(PATIENCE_S)
        call(number)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join_all(threads: list[threading.Thread]) -> None:
    """Wait for all of them to end."""
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a thread is stuck"


def row(
    embed_code: str = "E1",
    name: str = "clip.mov",
    *,
    size: int = -1,
    etag: str | None = None,
    mtime_s: int = 0,
    verified: bool = False,
    missing: bool = False,
    created_at_s: int = 1000,
    updated_at_s: int = 2000,
) -> AssetRow:
    """A presented asset; probed if it has a size."""
    inode = 1000 + sum(embed_code.encode())
    source = (size, etag, None, mtime_s, int(verified), int(missing))
    return AssetRow(embed_code, inode, name, "video", "live", created_at_s, updated_at_s, *source)


def probed_row(embed_code: str = "E1", name: str = "clip.mov", size: int = 1000) -> AssetRow:
    """A row whose source is `identity` of the same code and size."""
    return row(
        embed_code, name, size=size, etag='"v1"', mtime_s=LAST_MODIFIED_S, verified=True
    )._replace(last_modified=LAST_MODIFIED)
