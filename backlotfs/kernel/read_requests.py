# SPDX-License-Identifier: Apache-2.0
"""READ requests of the kernel: each is answered exactly once, at the first of four events.

The events are: the last missing block is delivered, or the fetch of a block fails; the deadline
passes (a thread checks every `SWEEP_S`); the kernel sends INTERRUPT, because the reader was killed;
the session ends. No thread waits meanwhile.

`ReadCounts` counts each read once, when it is answered; a read at or after the end of its file is
not counted. To count takes a few additions under one lock, at most some thousand times a second.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cachetools import TTLCache

from backlotfs.cache.memory import TIERS
from backlotfs.concurrency.clock import Clock
from backlotfs.errors import BacklotError, DeadlineExceeded, Interrupted
from backlotfs.fetch.loader import PendingRead
from backlotfs.kernel.callers import IDS_KEPT, REMEMBERED_S
from backlotfs.kernel.deadlines import OPERATION_DEADLINE_S
from backlotfs.kernel.errno_boundary import errno_of
from backlotfs.kernel.protocol import Device, ReadRequest
from backlotfs.log import events
from backlotfs.source.bandwidth import RecentRate

log = logging.getLogger(__name__)

#: How often the deadlines are checked.
SWEEP_S = 0.2
#: Number of interrupts remembered whose read is not known yet: another thread may have the request.
_EARLY = 256
#: The kernel repeats a failed read-ahead for one page within this time. For the application both
#: are one read, so the second gets only the rest of the first one's time limit.
_AGAIN_S = 1.0
#: Number of handles whose failed reads are remembered for `_AGAIN_S`, and of reads for each handle.
_FAILED, _FAILED_EACH = 256, 64


#: Number of program names with their own counts; further programs are counted as `OTHERS`.
NAMES_KEPT = 200
OTHERS = "(others)"


@dataclass(slots=True)
class Usage:
    """The reads of one program name, or of all, since the mount began.

    :ivar reads: requests of the kernel that were answered with bytes.
    :ivar failed: requests that were answered with an errno.
    :ivar asked_bytes: bytes of all answered requests, including the kernel's read-ahead.
    :ivar blocks: number of blocks from each tier, see `TIERS`.
    """

    reads: int = 0
    failed: int = 0
    asked_bytes: int = 0
    blocks: list[int] = field(default_factory=lambda: [0] * len(TIERS))

    def add(self, other: Usage) -> None:
        """Add the counts of ``other``."""
        self.reads += other.reads
        self.failed += other.failed
        self.asked_bytes += other.asked_bytes
        self.blocks = [ours + more for ours, more in zip(self.blocks, other.blocks, strict=True)]

    def copy(self) -> Usage:
        """Copy the current counts."""
        return Usage(self.reads, self.failed, self.asked_bytes, list(self.blocks))


class ReadCounts:
    """Counts the reads of applications. Any thread may call it."""

    def __init__(
        self,
        name_of: Callable[[int], str],
        clock: Clock,
        *,
        rate: RecentRate | None = None,
        note: Callable[[int, Exception], None] = lambda _fh, _error: None,
    ) -> None:
        """Count from 0.

        :param name_of: the name of a process by its id; quick, and raises nothing.
        :param clock: times how long the program of a process is remembered.
        :param rate: counts the bytes that are answered.
        :param note: called after each failed read with its file handle and error.
        """
        self._name_of = name_of
        self._rate = rate
        self._note = note
        self._lock = threading.Lock()
        self._by_name: dict[str, Usage] = {}
        self._by_process: TTLCache[int, Usage] = TTLCache(
            IDS_KEPT, REMEMBERED_S, timer=clock.monotonic
        )
        self._used_bytes = self._before_open_bytes = 0

    def answered(self, pid: int, read: PendingRead) -> None:
        """Count a read of this process that was answered with bytes."""
        asked_bytes = read.wanted.length
        with self._lock:
            usage = self._by_process.get(pid)
        usage = usage or self._usage_of(pid)
        with self._lock:
            usage.reads += 1
            usage.asked_bytes += asked_bytes
            for tier, blocks in enumerate(read.came_from):
                usage.blocks[tier] += blocks
            self._used_bytes += read.first_use_bytes
            self._before_open_bytes += read.before_open_bytes
        if self._rate is not None:
            self._rate.add(asked_bytes)

    def failed(self, pid: int, fh: int, error: Exception) -> None:
        """Count a read of this process that failed, or that was interrupted."""
        usage = self._usage_of(pid)
        with self._lock:
            usage.failed += 1
        self._note(fh, error)

    @property
    def used_bytes(self) -> int:
        """Fetched bytes that at least one read has used; each byte counts once, in whole blocks."""
        return self._used_bytes

    @property
    def before_open_bytes(self) -> int:
        """The part of `used_bytes` that was fetched before the file was opened."""
        return self._before_open_bytes

    def total(self) -> Usage:
        """The counts of all programs together."""
        total = Usage()
        for usage in self.by_name().values():
            total.add(usage)
        return total

    def by_name(self) -> dict[str, Usage]:
        """Copies of the counts by program name, the largest reader first."""
        with self._lock:
            found = {name: usage.copy() for name, usage in self._by_name.items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1].asked_bytes, item[0])))

    def _usage_of(self, pid: int) -> Usage:
        """The counts of the program that this process runs now."""
        name = self._name_of(pid)
        with self._lock:
            if name not in self._by_name and len(self._by_name) >= NAMES_KEPT:
                name = OTHERS
            usage = self._by_process[pid] = self._by_name.setdefault(name, Usage())
        return usage


class ReadLimits(NamedTuple):
    """The time limit of a read.

    :ivar queued: whether the work on a source waits for an API credit, which does not count for the
        deadline.
    """

    deadline_s: float = OPERATION_DEADLINE_S
    queued: Callable[[str], bool] = lambda _code: False


class ReadContext(NamedTuple):
    """The objects that an adapter needs to serve reads, besides the operations."""

    clock: Clock
    counts: ReadCounts
    limits: ReadLimits = ReadLimits()


class Beginning(Protocol):
    """The type of `Operations.begin`."""

    def __call__(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """Begin a read; None if it wants no byte."""


class _Pending(NamedTuple):
    read: PendingRead
    due_s: float
    request: ReadRequest
    again: bool = False


class _Failed(NamedTuple):
    """A read that failed.

    :ivar due_s: its deadline. :ivar at_s: the time of the failure.
    """

    request: ReadRequest
    due_s: float
    at_s: float


class ReadRequests:
    """Answers the READ requests of one session. Any thread may call it."""

    def __init__(self, device: Device, begin: Beginning, context: ReadContext) -> None:
        """Answer reads; `start` starts the thread for deadlines."""
        self._device = device
        self._begin = begin
        self._clock, self._counts, (self._deadline_s, self._queued) = context
        self._lock = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._early: OrderedDict[int, None] = OrderedDict()
        self._failed: OrderedDict[int, list[_Failed]] = OrderedDict()
        self._ended = threading.Event()

    def __len__(self) -> int:
        return len(self._pending)

    def waiting(self) -> list[tuple[int, str]]:
        """The thread id and embed code of each read that waits."""
        with self._lock:
            entries = list(self._pending.values())
        return [(entry.request.pid, entry.read.embed_code) for entry in entries]

    def start(self) -> None:
        """Start the thread that checks the deadlines."""
        threading.Thread(target=self._sweep, name="read-deadlines", daemon=True).start()

    def serve(self, unique: int, request: ReadRequest) -> None:
        """Answer a read now if all blocks are cached, otherwise when they have arrived."""
        read: PendingRead | None = None
        try:
            read = self._begin(request.fh, request.offset, request.size)
            if read is None:
                self._device.answer(unique, (), 0)
                return
            self._take_up(unique, request, read)
        except Exception as error:  # noqa: BLE001  # the kernel must get an answer
            self._counts.failed(request.pid, request.fh, error)
            self._device.refuse(unique, errno_of("read", error))
            if read is not None and read.span is not None:
                read.span.failed(error)
            return
        try:
            read.look_ahead()  # last, because the application continues after the answer
        except Exception as error:  # noqa: BLE001  # the read itself has been answered
            events.PLAN_FAILED.log(log, failure=error)

    def _take_up(self, unique: int, request: ReadRequest, read: PendingRead) -> None:
        now_s = self._clock.monotonic()
        if read.complete:  # a repeated request may also contain bytes after the failed read
            self._answer(unique, _Pending(read, now_s + self._deadline_s, request))
            return
        # A read that the kernel repeats gets the rest of the first one's time limit (`_AGAIN_S`).
        # This applies once, so that a program can try again.
        first = self._first_try(request, now_s) if self._failed else None
        due_s = now_s + self._deadline_s if first is None else first.due_s
        pending = _Pending(read, due_s, request, again=first is not None)
        if pending.due_s <= now_s:
            self._give_up(unique, pending, self._not_in_time(read))
            return
        with self._lock:
            early = self._early.pop(unique, self) is None
            if not early and not self._ended.is_set():
                self._pending[unique] = pending
        if early or self._ended.is_set():
            self._give_up(unique, pending, Interrupted("reading: the caller is gone"))
            return
        read.add_done_callback(lambda: self._arrived(unique))

    def interrupt(self, unique: int) -> bool:
        """Fail the read of a killed program; True if this request is a pending read."""
        with self._lock:
            pending = self._pending.pop(unique, None)
            if pending is None:
                self._early[unique] = None
                while len(self._early) > _EARLY:
                    self._early.popitem(last=False)
                return False
        self._give_up(unique, pending, Interrupted("reading: the caller is gone"))
        return True

    def end(self) -> None:
        """Fail every pending read, and from now on every read that would have to wait."""
        with self._lock:
            self._ended.set()
            pending, self._pending = self._pending, {}
        for unique, entry in pending.items():
            self._give_up(unique, entry, Interrupted("reading: the mount ends"))

    def _arrived(self, unique: int) -> None:
        with self._lock:
            pending = self._pending.pop(unique, None)
        if pending is not None:
            self._answer(unique, pending)

    def _answer(self, unique: int, pending: _Pending) -> None:
        read, error = pending.read, pending.read.error
        if error is None:
            # before the answer, because a program that has its bytes may read the counters
            self._counts.answered(pending.request.pid, read)
            self._device.answer(unique, read.views(), read.wanted.length)
            if read.span is not None:
                read.span.answered(TIERS, read.came_from)
        else:
            self._refuse(unique, pending, error)

    def _give_up(self, unique: int, pending: _Pending, error: BacklotError) -> None:
        pending.read.abandon()
        self._refuse(unique, pending, error)

    def _refuse(self, unique: int, pending: _Pending, error: BacklotError) -> None:
        self._counts.failed(pending.request.pid, pending.request.fh, error)
        if not pending.again:
            failed = _Failed(pending.request, pending.due_s, self._clock.monotonic())
            with self._lock:
                of_handle = self._failed.setdefault(pending.request.fh, [])
                of_handle.append(failed)
                del of_handle[:-_FAILED_EACH]
                while len(self._failed) > _FAILED:
                    self._failed.popitem(last=False)
        self._device.refuse(unique, errno_of("read", error))
        if pending.read.span is not None:
            pending.read.span.failed(error)

    def _first_try(self, request: ReadRequest, now_s: float) -> _Failed | None:
        """The failed read that the kernel repeats with this request; None if it is a new read."""
        with self._lock:
            lately = [
                failed
                for failed in self._failed.pop(request.fh, ())
                if now_s - failed.at_s <= _AGAIN_S
            ]
            found = None
            for failed in lately:
                first = failed.request
                if first.offset <= request.offset < first.offset + first.size:
                    found = failed
            if found is not None:
                lately.remove(found)
            if lately:
                self._failed[request.fh] = lately
            return found

    def _sweep(self) -> None:
        looked_s = self._clock.monotonic()
        while not self._ended.wait(SWEEP_S):
            now_s = self._clock.monotonic()
            self._look(now_s, now_s - looked_s)
            looked_s = now_s

    def _look(self, now_s: float, passed_s: float) -> None:
        """Fail the reads whose deadline has passed.

        This is not in the loop of `_sweep`, where a local name would keep the last read in memory.
        """
        with self._lock:
            for unique, entry in self._pending.items():
                if self._queued(entry.read.embed_code):
                    self._pending[unique] = entry._replace(due_s=entry.due_s + passed_s)
            due = {u: entry for u, entry in self._pending.items() if entry.due_s <= now_s}
            for unique in due:
                del self._pending[unique]
        for unique, entry in due.items():
            self._give_up(unique, entry, self._not_in_time(entry.read))

    def _not_in_time(self, read: PendingRead) -> DeadlineExceeded:
        return DeadlineExceeded(f"{read.doing} timed out after {self._deadline_s:g} s")
