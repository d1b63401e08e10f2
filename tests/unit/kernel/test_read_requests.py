# SPDX-License-Identifier: Apache-2.0
"""Each read is answered once, by whoever comes first."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from backlotfs.byterange import ByteRange
from backlotfs.cache.memory import Block, BlockPool
from backlotfs.errors import BadHandle, ContentChanged
from backlotfs.fetch.loader import PendingRead
from backlotfs.kernel.protocol import Device, ReadRequest
from backlotfs.kernel.read_requests import ReadContext, ReadCounts, ReadLimits, ReadRequests
from backlotfs.log.traces import Tracing
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import in_threads, join_all
from tests.support.deadlines import wait_until

#: What a read may take here.
DEADLINE_S = 20.0


class Answers(Device):
    """Notes what the kernel is told."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        super().__init__(-1)
        self.told: list[tuple[int, bytes | int]] = []

    def answer(self, unique: int, views: Sequence[memoryview], length: int) -> None:
        whole = b"".join(views)
        assert len(whole) == length
        self.told.append((unique, whole))

    def refuse(self, unique: int, number: int) -> None:
        self.told.append((unique, number))


class Reading:
    """Demands of one block of five bytes that the test completes."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.device = Answers()
        self.demands: list[PendingRead] = []
        self.look_ahead: Callable[[], None] | None = None
        self.tracing: Tracing | None = None
        self.counts = ReadCounts(lambda pid: f"process {pid}", self.clock)
        self.queued: set[str] = set()
        self.requests = ReadRequests(
            self.device,
            self._begin,
            ReadContext(self.clock, self.counts, ReadLimits(DEADLINE_S, self.queued.__contains__)),
        )

    def _begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        if fh == 404:
            raise BadHandle("file handle 404 is not open")
        if not size:
            return None
        demand = PendingRead(ByteRange(0, 5), 5, threading.Lock(), "reading E1", "E1")
        if fh == 1 and size == 5:
            demand.deliver(0, Block(memoryview(b"ready")))
        if self.tracing is not None:
            demand.span = self.tracing.read("E1", offset, size)
        if self.look_ahead is not None:
            demand.look_ahead = self.look_ahead
        self.demands.append(demand)
        return demand

    def serve(self, unique: int, fh: int = 2, size: int = 5) -> None:
        """A READ of the kernel."""
        self.requests.serve(unique, ReadRequest(fh, 0, size, pid=unique))

    def arrive(self, number: int = 0) -> None:
        """The block of this demand comes."""
        self.demands[number].deliver(0, Block(memoryview(b"later")))
        self.demands[number].finished()


def test_what_is_here_is_answered_at_once() -> None:
    """Bytes, nothing beyond the end, an errno for a handle that is not open."""
    reading = Reading()
    reading.serve(1, fh=1)
    reading.serve(2, size=0)
    reading.serve(3, fh=404)
    assert reading.device.told == [(1, b"ready"), (2, b""), (3, errno.EBADF)]


def test_a_mistake_of_ours_leaves_no_reader_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it take the thread that receives: EIO, and the next read is served."""
    reading = Reading()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as mistaken:
        mistaken.setattr(reading.counts, "answered", fail)
        reading.serve(1, fh=1)
    reading.serve(2, fh=1)
    assert reading.device.told == [(1, errno.EIO), (2, b"ready")]


def test_the_span_of_a_read_ends_however_the_read_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answered at once or later, failed, interrupted, too late, by a mistake, at the end."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    reading = Reading()
    reading.tracing = Tracing(provider)

    def ended() -> list[object]:
        found = [(one.attributes or {}).get("error.type") for one in exporter.get_finished_spans()]
        exporter.clear()
        return found

    reading.serve(1, fh=1)
    reading.serve(2)
    reading.arrive(1)
    assert ended() == [None, None]
    reading.serve(3)
    reading.demands[2].fail(ContentChanged("replaced"))
    reading.demands[2].finished()
    reading.serve(4)
    assert reading.requests.interrupt(4)
    reading.arrive(3)
    assert ended() == ["ESTALE", "EINTR"]
    reading.requests.interrupt(5)
    reading.serve(5)
    assert ended() == ["EINTR"]
    with monkeypatch.context() as mistaken:
        mistaken.setattr(reading.counts, "answered", lambda *_: 1 / 0)
        reading.serve(6, fh=1)
    assert ended() == ["EIO"]
    reading.serve(7)
    reading.clock.advance(DEADLINE_S + 1)
    reading.requests.start()
    wait_until(lambda: len(exporter.get_finished_spans()) == 1, "the deadline to be noticed")
    assert ended() == ["ETIMEDOUT"]
    reading.serve(8)
    reading.requests.end()
    reading.serve(9)
    assert ended() == ["EINTR", "EINTR"]


def test_nobody_waits_for_the_plan_of_what_lies_ahead() -> None:
    """It is made when the answer is out, and its failure is nobody's error."""
    reading = Reading()
    told: list[int] = []

    def look_ahead() -> None:
        told.append(len(reading.device.told))
        raise RuntimeError("no plan")

    reading.look_ahead = look_ahead
    reading.serve(1, fh=1)
    reading.serve(2)
    reading.arrive(1)
    assert reading.device.told == [(1, b"ready"), (2, b"later")]
    assert told == [1, 1]


def test_what_is_on_its_way_is_answered_when_it_comes() -> None:
    """Once; an error is an answer too."""
    reading = Reading()
    reading.serve(1)
    reading.serve(2)
    assert len(reading.requests) == 2
    reading.arrive()
    reading.demands[1].fail(ContentChanged("replaced"))
    reading.demands[1].finished()
    assert reading.device.told == [(1, b"later"), (2, errno.ESTALE)]
    assert len(reading.requests) == 0


def test_a_killed_reader_is_let_go() -> None:
    """Whether the interrupt comes after its read was registered or before."""
    reading = Reading()
    reading.serve(1)
    assert reading.requests.interrupt(1)
    assert not reading.requests.interrupt(2)
    reading.serve(2)
    assert reading.device.told == [(1, errno.EINTR), (2, errno.EINTR)]
    reading.arrive(0)
    reading.arrive(1)
    assert len(reading.device.told) == 2


def test_the_end_of_the_session() -> None:
    """What waits fails, and so does what comes later and would have to wait."""
    reading = Reading()
    reading.serve(1)
    reading.requests.end()
    reading.serve(2)
    reading.serve(3, fh=1)
    assert reading.device.told == [(1, errno.EINTR), (2, errno.EINTR), (3, b"ready")]


def test_a_spent_deadline() -> None:
    """The sweeper answers, the block that comes too late does not."""
    reading = Reading()
    reading.serve(1)
    reading.clock.advance(DEADLINE_S + 1)
    reading.requests.start()
    deadline = threading.Event()
    for _ in range(200):
        if reading.device.told:
            break
        deadline.wait(0.05)
    reading.requests.end()
    assert reading.device.told == [(1, errno.ETIMEDOUT)]
    reading.arrive()
    assert len(reading.device.told) == 1


def test_the_time_of_a_read_stands_still_in_the_queue_for_a_credit() -> None:
    """And runs on when the URL is there; meanwhile it is told who waits."""
    reading = Reading()
    reading.queued.add("E1")
    reading.requests.start()
    reading.serve(1)
    assert reading.requests.waiting() == [(1, "E1")]
    for _ in range(5):
        reading.clock.advance(DEADLINE_S - 1)
        _let_look(reading)
    assert reading.device.told == []
    reading.queued.clear()
    reading.clock.advance(DEADLINE_S + 1)
    wait_until(lambda: reading.device.told == [(1, errno.ETIMEDOUT)], "the deadline to be noticed")
    assert reading.requests.waiting() == []
    reading.requests.end()


def test_a_read_that_was_answered_holds_no_memory() -> None:
    """The sweeper, which has looked at it, refers to it no more."""
    reading = Reading()
    pool = BlockPool(5, 5)
    reading.requests.start()
    reading.serve(1)
    _let_look(reading)
    block = pool.take(5)
    assert block is not None
    reading.demands[0].deliver(0, block)
    reading.demands.pop().finished()
    del block
    assert len(reading.device.told) == 1
    wait_until(lambda: pool.free_slots == 1, "the slot to be free again", timeout_s=10)
    reading.requests.end()


def _let_look(reading: Reading) -> None:
    """Until the sweeper has looked twice."""
    looks: list[str] = []
    requests = reading.requests
    before = requests._queued
    requests._queued = lambda code: bool(looks.append(code) or before(code))  # type: ignore[func-returns-value]  # notes it
    wait_until(lambda: len(looks) >= 2, "the sweeper to look")
    requests._queued = before


def test_arrival_and_interrupt_race() -> None:
    """However they meet, the kernel hears one answer for each read."""
    for _ in range(50):
        reading = Reading()
        reading.serve(1)
        calls = (reading.arrive, lambda reading=reading: reading.requests.interrupt(1))
        join_all(in_threads(2, lambda number, calls=calls: calls[number]()))  # type: ignore[misc]  # bound now
        assert len(reading.device.told) == 1


def test_every_read_is_counted_for_who_made_it() -> None:
    """Before it is answered; and those that end without bytes too."""
    reading = Reading()
    reading.serve(1, fh=1)
    reading.serve(2)
    assert reading.counts.by_name()["process 1"].asked_bytes == 5
    assert "process 2" not in reading.counts.by_name()  # it waits
    reading.arrive(1)
    reading.serve(3, fh=404)
    reading.serve(4)
    reading.requests.interrupt(4)
    reading.serve(5)
    reading.demands[-1].fail(ContentChanged("replaced"))
    reading.demands[-1].finished()
    found = {name: (usage.reads, usage.failed) for name, usage in reading.counts.by_name().items()}
    assert found == {
        "process 1": (1, 0),
        "process 2": (1, 0),
        "process 3": (0, 1),
        "process 4": (0, 1),
        "process 5": (0, 1),
    }


def test_what_the_kernel_asks_again_has_what_the_first_left_of_the_time() -> None:
    """A read-ahead that failed is followed by a read of its page: one read for the application."""
    reading = Reading()
    reading.serve(1)
    reading.clock.advance(DEADLINE_S - 4)
    reading.demands[0].fail(ContentChanged("changed"))
    reading.demands[0].finished()
    reading.serve(2)
    reading.requests.start()
    reading.clock.advance(5)
    wait_until(lambda: len(reading.device.told) == 2, "the second answer")
    reading.requests.end()
    assert reading.device.told == [(1, errno.ESTALE), (2, errno.ETIMEDOUT)]


def test_a_spent_deadline_is_not_waited_for_again_but_once() -> None:
    """The kernel's repeat fails at once; what a program asks after that has all the time."""
    reading = Reading()
    reading.serve(1)
    reading.requests.start()
    reading.clock.advance(DEADLINE_S + 1)
    wait_until(lambda: bool(reading.device.told), "the first answer")
    reading.serve(2)
    assert reading.device.told == [(1, errno.ETIMEDOUT), (2, errno.ETIMEDOUT)]
    reading.serve(3)
    assert len(reading.requests) == 1
    reading.arrive(2)
    reading.requests.end()
    assert reading.device.told[-1] == (3, b"later")


def test_of_several_that_failed_together_the_kernel_may_ask_for_any() -> None:
    """Its read-ahead was in pieces; the program waits for the first, which failed first."""
    reading = Reading()
    for unique, offset in ((1, 0), (2, 5), (3, 10)):
        reading.requests.serve(unique, ReadRequest(2, offset, 5))
    reading.requests.start()
    reading.clock.advance(DEADLINE_S + 1)
    wait_until(lambda: len(reading.device.told) == 3, "the answers")
    for unique, offset in ((4, 2), (5, 10), (6, 5)):
        reading.requests.serve(unique, ReadRequest(2, offset, 3))
    assert len(reading.device.told) == 6, "each at once"
    reading.requests.serve(7, ReadRequest(2, 2, 3))
    assert len(reading.requests) == 1
    reading.requests.end()


def test_what_is_here_leaves_the_rest_of_a_second_try_no_more_time() -> None:
    """A large read failed for its end: the kernel asks for its first page, gets it, and goes on."""
    reading = Reading()
    reading.requests.serve(1, ReadRequest(1, 0, 50))
    reading.requests.start()
    reading.clock.advance(DEADLINE_S + 1)
    wait_until(lambda: bool(reading.device.told), "the first answer")
    reading.requests.serve(2, ReadRequest(1, 0, 5))
    reading.requests.serve(3, ReadRequest(1, 5, 45))
    assert reading.device.told == [(1, errno.ETIMEDOUT), (2, b"ready"), (3, errno.ETIMEDOUT)]
    reading.requests.end()


def test_another_place_or_a_later_read_has_all_the_time() -> None:
    """Only what was asked for and failed just now counts as asked again."""
    for later_s, offset in ((0.0, 5), (2.0, 0)):
        reading = Reading()
        reading.serve(1)
        reading.requests.start()
        reading.clock.advance(DEADLINE_S + 1)
        wait_until(partial(bool, reading.device.told), "the first answer")
        reading.clock.advance(later_s)
        reading.requests.serve(2, ReadRequest(2, offset, 5))
        assert len(reading.requests) == 1
        reading.requests.end()
