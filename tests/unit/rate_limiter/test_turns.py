# SPDX-License-Identifier: Apache-2.0
"""Who goes first, who gives up, and what one answer changes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, RateStatus
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.errors import Interrupted, RateLimited
from tests.fakes.clocks import ManualClock
from tests.support.deadlines import wait_until
from tests.unit.rate_limiter.virtual_account import VirtualTime

RENEWAL, WAITING, LISTED, BACKGROUND = Priority


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def budget(time: VirtualTime) -> ApiRateLimiter:
    return ApiRateLimiter(time, credits=10, wait=time.wait)


def spend(budget: ApiRateLimiter, time: VirtualTime, calls: int, left: int | None = None) -> None:
    """Calls that are answered at once; the last answer speaks of ``left`` credits for 40 s."""
    for number in range(calls):
        budget.acquire(RENEWAL)
        told = left if number == calls - 1 else None
        budget.answered(None if told is None else RateStatus(told, time.monotonic() + 40.0))


def waited_s(budget: ApiRateLimiter, time: VirtualTime, priority: Priority) -> float:
    """How long one call waits for its turn."""
    began_s = time.monotonic()
    budget.acquire(priority)
    return time.monotonic() - began_s


@pytest.mark.parametrize(
    ("priority", "credits"), [(RENEWAL, 10), (WAITING, 8), (LISTED, 8), (BACKGROUND, 8)]
)
def test_what_is_left_by_priority(
    budget: ApiRateLimiter, time: VirtualTime, priority: Priority, credits: int
) -> None:
    """Calls in flight count; the reserve is for files that are being read, and for other tools."""
    assert sum(waited_s(budget, time, priority) for _ in range(credits)) <= 60.0
    assert budget.status().credits_left == 10 - credits
    assert waited_s(budget, time, priority) > 0


def test_a_wait_has_no_other_end_than_the_credits(
    budget: ApiRateLimiter, time: VirtualTime
) -> None:
    """The call is made when the window is over; the caller's deadline does not run meanwhile."""
    spend(budget, time, 1, left=0)
    deadline = Deadline(5.0, time)
    began_s = time.monotonic()
    budget.acquire(WAITING, deadline=deadline)
    assert 40.0 <= time.monotonic() - began_s <= 41.01
    assert deadline.remaining_s() == pytest.approx(5.0)


def test_a_wait_has_a_longest_time(time: VirtualTime) -> None:
    """Then the error says that no credit came; nothing is spent, and nobody waits any more."""
    budget = ApiRateLimiter(time, credits=10, credit_wait_s=30.0, wait=time.wait)
    spend(budget, time, 1, left=0)
    began_s = time.monotonic()
    with pytest.raises(RateLimited, match="no API credit came within 30 s"):
        budget.acquire(WAITING)
    assert time.monotonic() - began_s == pytest.approx(30.0)
    assert budget.status().waiting == (0, 0, 0, 0)
    assert not budget.is_queued("")


def test_a_refusal_stops_everybody(budget: ApiRateLimiter, time: VirtualTime) -> None:
    """After a 429 nobody calls before the server's time; then everything starts afresh."""
    budget.acquire(WAITING)
    budget.refused(55.0)
    assert [budget.try_acquire(priority) for priority in Priority] == [None] * 4
    assert budget.status().refused_for_s == pytest.approx(56.0)
    time.jump(56.0)
    budget.acquire(LISTED)
    assert budget.status().credits_left == 9
    assert budget.status().refused_for_s == 0.0


def test_refusals_without_a_time_are_backed_off_from(
    budget: ApiRateLimiter, time: VirtualTime
) -> None:
    """1 s, then twice as long each time up to a minute; a success begins anew."""
    pauses = []
    for _ in range(9):
        pauses.append(waited_s(budget, time, RENEWAL))
        budget.refused(None)
    assert [round(pause - 1.0) for pause in pauses[1:]] == [1, 2, 4, 8, 16, 32, 60, 60]
    budget.acquire(RENEWAL)
    budget.answered(RateStatus(9, time.monotonic() + 60.0))
    budget.acquire(RENEWAL)
    budget.refused(None)
    assert waited_s(budget, time, RENEWAL) == pytest.approx(2.0, abs=0.1)


def test_after_a_refusal_one_call_goes_first(budget: ApiRateLimiter, time: VirtualTime) -> None:
    """It shows whether the refusal is over: no burst of calls that are all refused."""
    budget.acquire(RENEWAL)
    budget.refused(3.0)
    time.jump(4.0)
    assert budget.try_acquire(RENEWAL) is not None
    assert budget.try_acquire(RENEWAL) is None
    budget.answered(RateStatus(8, time.monotonic() + 60.0))
    assert budget.try_acquire(RENEWAL) is not None
    assert budget.try_acquire(RENEWAL) is not None


def test_a_shorter_refusal_does_not_shorten_a_longer_one(
    budget: ApiRateLimiter, time: VirtualTime
) -> None:
    """Answers overtake each other: the latest moment holds."""
    budget.refused(50.0)
    budget.refused(3.0)
    assert budget.status().refused_for_s == pytest.approx(51.0)


def test_others_calls_are_seen_in_the_answers(budget: ApiRateLimiter, time: VirtualTime) -> None:
    """Own count says 9 left, the server says 2: two it is."""
    spend(budget, time, 1, left=2)
    assert budget.status().credits_left == 2
    spend(budget, time, 2)
    assert budget.try_acquire(RENEWAL) is None


def test_an_answer_that_never_comes_is_given_up(budget: ApiRateLimiter, time: VirtualTime) -> None:
    """A call lost without a word takes its credit along for a window, not for ever."""
    budget.acquire(WAITING)
    assert budget.status().credits_left == 9
    time.jump(61.5)
    assert budget.status().credits_left == 10


def test_a_server_that_says_nothing_of_credits(budget: ApiRateLimiter) -> None:
    """It has none to spend: nobody waits, however many calls there are."""
    budget.acquire(BACKGROUND)
    budget.answered(None)
    for _ in range(500):
        budget.acquire(BACKGROUND)
        budget.answered(None)
    assert not budget.counts_credits
    assert budget.wait_s(BACKGROUND, ahead=10_000) == 0.0


def test_a_refusal_by_a_server_that_says_nothing_of_credits(
    budget: ApiRateLimiter, time: VirtualTime
) -> None:
    """The calls before it were free: no window has to end, only the pause."""
    for _ in range(500):
        budget.acquire(WAITING)
        budget.answered(None)
    budget.acquire(WAITING)
    budget.refused(None)
    assert budget.counts_credits
    assert 1.0 <= waited_s(budget, time, WAITING) <= 2.1


def test_a_turn_that_no_call_used_goes_back(budget: ApiRateLimiter) -> None:
    """So that a probe that needs no call after all costs nothing."""
    with budget.try_acquire(WAITING) or pytest.fail("no turn"):
        assert budget.status().credits_left == 9
    assert budget.status().credits_left == 10
    with budget.try_acquire(WAITING) or pytest.fail("no turn") as turn:
        assert turn.use()
        assert not turn.use()
    assert budget.status().credits_left == 9


def test_the_end_of_the_mount_ends_every_wait(time: VirtualTime) -> None:
    """Those that wait, and those that come later."""
    clock = SystemClock()
    budget = ApiRateLimiter(clock, credits=1)
    budget.acquire(RENEWAL)
    failures: list[Exception] = []

    def call() -> None:
        try:
            budget.acquire(RENEWAL, key="E1")
        except Interrupted as error:
            failures.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    wait_until(lambda: budget.is_queued("E1"), "the thread to queue")
    budget.close()
    thread.join(10.0)
    assert len(failures) == 1
    with pytest.raises(Interrupted):
        budget.acquire(RENEWAL)


@pytest.mark.parametrize(
    "numbers", [{"credits": 0}, {"window_s": 0.0}, {"window_s": math.nan}, {"reserve": 1.0}]
)
def test_numbers_that_cannot_be_meant(time: VirtualTime, numbers: dict[str, float]) -> None:
    """A budget of nothing would wait for ever: refused when it is made."""
    with pytest.raises(ValueError, match="no such quota"):
        ApiRateLimiter(time, **numbers)  # type: ignore[arg-type]  # the point of the test


def test_good_news_wakes_a_waiting_thread() -> None:
    """With the machine's clock and a real condition: the answer lets the next one go."""
    clock = SystemClock()
    budget = ApiRateLimiter(clock, credits=1)
    budget.acquire(RENEWAL)
    thread = threading.Thread(target=budget.acquire, args=(RENEWAL,), daemon=True)
    thread.start()
    wait_until(lambda: budget.status().waiting == (1, 0, 0, 0), "the thread to queue")
    budget.answered(RateStatus(1, clock.monotonic() + 60.0))
    thread.join(10.0)
    assert not thread.is_alive()


def queued(order: list[Priority], raised: int | None = None) -> list[str]:
    """Names of callers in the order in which they went, having come in ``order``, as threads.

    :param raised: the number of one whose priority is raised to `Priority.WAITING`.
    """
    clock = ManualClock()
    budget = ApiRateLimiter(clock, credits=50, reserve=0.0)
    budget.acquire(RENEWAL)
    budget.answered(RateStatus(0, clock.monotonic() + 40.0))
    went: list[str] = []

    def caller(priority: Priority, name: str) -> Callable[[], None]:
        def call() -> None:
            budget.acquire(priority, key=name)
            went.append(name)
            budget.answered(None)

        return call

    threads = []
    for number, priority in enumerate(order):
        name = f"{priority.name}{number}"
        threads.append(threading.Thread(target=caller(priority, name), daemon=True))
        threads[-1].start()
        wait_until(lambda name=name: budget.is_queued(name), "the thread to queue")  # type: ignore[misc]
        if number == raised:
            budget.raise_priority(name, WAITING)
    clock.advance(100.0)
    for thread in threads:
        thread.join(20.0)
        assert not thread.is_alive()
    return went


def test_higher_priority_first_and_in_order_inside_one() -> None:
    """Whoever came first goes first, among those who are equally urgent."""
    order = [LISTED, LISTED, WAITING, LISTED, WAITING]
    assert queued(order) == ["WAITING2", "WAITING4", "LISTED0", "LISTED1", "LISTED3"]


def test_a_call_that_an_application_comes_to_wait_for_moves_up() -> None:
    """It goes behind those that waited before it in the higher priority."""
    assert queued([LISTED, WAITING, LISTED], raised=2) == ["WAITING1", "LISTED2", "LISTED0"]
