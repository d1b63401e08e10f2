# SPDX-License-Identifier: Apache-2.0
"""What a renewal is for, in the queue for API credits, and how long those wait who need it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, Turn
from backlotfs.api.records import Source
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import BacklotError, DeadlineExceeded, RateLimited
from backlotfs.source.url_resolver import READ_LATELY_S, UrlResolver
from tests.fakes.api import NumberedApi
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S, STUCK_S, in_threads, join_all
from tests.support.deadlines import wait_until
from tests.unit.source.numbered_urls import Setup

pytestmark = pytest.mark.timeout(STUCK_S)


def test_only_a_file_that_is_being_read_may_take_the_reserve() -> None:
    """The first URL is for who opens; a further one soon after the last read is a renewal."""
    setup = Setup(life_s=240.0)
    setup.url()
    setup.clock.advance(READ_LATELY_S - 1)
    setup.url()
    setup.clock.advance(READ_LATELY_S - 1)
    setup.url()
    assert setup.api.priorities == [Priority.WAITING, Priority.RENEWAL]
    setup.clock.advance(240.0)
    setup.url()
    assert setup.api.priorities[2:] == [Priority.WAITING], "nobody has read it for minutes"


def test_a_probe_has_the_priority_and_the_turn_that_it_is_given() -> None:
    """Neither makes a file one that is being read."""
    setup = Setup(life_s=100.0)
    turn = Turn(lambda: None)
    deadline = Deadline(60, setup.clock)
    setup.resolver.resolve("E1", deadline, current=True, priority=Priority.BACKGROUND, turn=turn)
    assert (setup.api.priorities, setup.api.turns) == ([Priority.BACKGROUND], [turn])
    setup.resolver.resolve("E1", deadline, current=True, priority=Priority.LISTED, turn=None)
    assert len(setup.api.priorities) == 1, "the URL lives"
    setup.clock.advance(100.0)
    setup.url()
    assert setup.api.priorities[1:] == [Priority.WAITING]


class Queue:
    """A resolver whose API calls wait for a credit until the test gives one."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.credit = threading.Event()
        self.limiter = ApiRateLimiter(self.clock, credit_wait_s=1000.0, wait=self._wait)
        self.limiter.refused(500.0)
        self.api = NumberedApi(self.clock)
        self.api.limiter = self.limiter
        self.resolver = UrlResolver(self.api, self.limiter, self.clock)
        self.found: list[str] = []

    def read(self, seconds: float) -> Deadline:
        """A reader on a thread of its own; its deadline."""
        deadline = Deadline(seconds, self.clock)
        self.threads = in_threads(
            1, lambda _: self.found.append(self.resolver.resolve("E1", deadline).url)
        )
        return deadline

    def give(self) -> None:
        """The credit that all wait for comes."""
        self.clock.advance(600.0)
        self.credit.set()

    def waits(self, *expected: int) -> None:
        """Until so many wait in the queue, by priority."""
        wait_until(lambda: self.limiter.status().waiting == expected, f"{expected} in the queue")

    def _wait(self, condition: threading.Condition, _seconds: float) -> None:
        condition.wait(0.01)  # in real time; the clock stands


def test_the_deadline_stands_still_in_the_queue() -> None:
    """Of who asks the API, and of who waits for the same URL."""
    queue = Queue()
    first = queue.read(30.0)
    threads = queue.threads
    queue.waits(0, 1, 0, 0)
    second = queue.read(20.0)

    def waits_too() -> bool:
        queue.clock.advance(0.001)
        return second.queued_s > 0

    wait_until(waits_too, "the second to wait")
    for _ in range(3):
        queue.clock.advance(100.0)
        wait_until(lambda: second.remaining_s() > 0, "the second deadline to be extended")
    queue.give()
    join_all(threads + queue.threads)
    assert queue.found == ["http://o/E1?n=1"] * 2
    assert first.remaining_s() == pytest.approx(30.0)


def test_who_joins_a_renewal_waits_no_longer_than_the_longest_wait() -> None:
    """Though the renewal that it joined, and those that follow it, may wait on."""
    queue = Queue()
    queue.read(30.0)
    threads = queue.threads
    queue.waits(0, 1, 0, 0)
    deadline = Deadline(30.0, queue.clock)
    deadline.add_queued(999.0)
    errors: list[BacklotError] = []

    def join(_number: int) -> None:
        try:
            queue.resolver.resolve("E1", deadline)
        except BacklotError as error:
            errors.append(error)

    joined = in_threads(1, join)
    wait_until(lambda: queue.limiter.status().waiting == (1, 0, 0, 0), "the second to have joined")
    queue.clock.advance(2.0)
    join_all(joined)
    assert [type(error) for error in errors] == [RateLimited]
    queue.give()
    join_all(threads)


def test_whoever_joins_raises_the_priority() -> None:
    """An application does not wait behind the background for the very URL that it needs."""
    queue = Queue()
    deadline = Deadline(60, queue.clock)
    threads = in_threads(
        1,
        lambda _: queue.resolver.resolve(
            "E1", deadline, current=True, priority=Priority.BACKGROUND, turn=None
        ),
    )
    queue.waits(0, 0, 0, 1)
    queue.read(30.0)
    queue.waits(0, 1, 0, 0)
    queue.give()
    join_all(threads + queue.threads)
    assert queue.found == ["http://o/E1?n=1"]
    assert queue.api.calls == ["E1"]


def test_no_credit_within_the_longest_wait() -> None:
    """All who wait are told; the next caller asks anew."""
    setup = Setup()
    setup.api.error = RateLimited("no API credit came", retry_after_s=None)
    with pytest.raises(RateLimited):
        setup.url()
    setup.api.error = None
    assert setup.url() == "http://o/E1?n=2"


class SlowApi(NumberedApi):
    """The first call takes all the time of its caller; the next are answered."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.asked, self.go_on = threading.Event(), threading.Event()

    def get_source(self, embed_code: str, **call: Any) -> Source:
        """Take the time."""
        if not self.asked.is_set():
            self.asked.set()
            assert self.go_on.wait(PATIENCE_S)
            raise DeadlineExceeded("its caller had no more time")
        return super().get_source(embed_code, **call)


def test_a_reader_outlives_the_deadline_of_the_one_that_had_asked() -> None:
    """It joined that renewal, and has time left: it asks again."""
    clock = ManualClock()
    api = SlowApi(clock)
    limiter = ApiRateLimiter(clock)
    resolver = UrlResolver(api, limiter, clock)
    failures: list[BacklotError] = []

    def first() -> None:
        try:
            resolver.resolve("E1", Deadline(1.0, clock))
        except BacklotError as error:
            failures.append(error)

    found: list[str] = []
    joined = threading.Event()
    raise_priority = limiter.raise_priority

    def note(key: str, priority: Priority) -> None:
        raise_priority(key, priority)
        joined.set()

    limiter.raise_priority = note  # type: ignore[method-assign]
    flyer = threading.Thread(target=first, daemon=True)
    flyer.start()
    assert api.asked.wait(PATIENCE_S)
    joiner = threading.Thread(
        target=lambda: found.append(resolver.resolve("E1", Deadline(600.0, clock)).url), daemon=True
    )
    joiner.start()
    assert joined.wait(PATIENCE_S)
    api.go_on.set()
    join_all([flyer, joiner])
    assert [type(error) for error in failures] == [DeadlineExceeded]
    assert len(found) == 1
