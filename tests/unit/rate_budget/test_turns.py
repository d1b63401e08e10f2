"""Who goes first, who gives up, and what one answer changes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from backlotfs.api.rate_status import RateStatus
from backlotfs.catalog.rate_budget import BudgetStatus, Priority, RateBudget
from backlotfs.clock import Deadline, SystemClock
from backlotfs.errors import DeadlineExceeded, Interrupted, RateLimited
from tests.support.deadlines import wait_until
from tests.unit.rate_budget.virtual_account import VirtualTime

WAITING, LISTED, BACKGROUND = Priority


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def budget(time: VirtualTime) -> RateBudget:
    return RateBudget(time, credits=10, wait=time.wait)


def spend(budget: RateBudget, time: VirtualTime, calls: int, left: int | None = None) -> None:
    """Calls that are answered at once; the last answer speaks of ``left`` credits for 40 s."""
    for _ in range(calls):
        budget.acquire(WAITING, Deadline.never(time))
        budget.answered(None)
    if left is not None:
        budget.answered(RateStatus(left, time.monotonic() + 40.0))


@pytest.mark.parametrize(("priority", "credits"), [(WAITING, 10), (LISTED, 8)])
def test_what_is_left_by_priority(
    budget: RateBudget, time: VirtualTime, priority: Priority, credits: int
) -> None:
    """Calls in flight count; the reserve is for a waiting application only."""
    for _ in range(credits):
        budget.acquire(priority, Deadline(0.1, time))
    with pytest.raises(RateLimited):
        budget.acquire(priority, Deadline(0.1, time))


def test_a_wait_beyond_the_deadline_is_not_begun(budget: RateBudget, time: VirtualTime) -> None:
    """The error comes at once and says when the credits come back."""
    spend(budget, time, 1, left=0)
    began_s = time.monotonic()
    with pytest.raises(RateLimited) as raised:
        budget.acquire(WAITING, Deadline(5.0, time))
    assert time.monotonic() == began_s
    assert raised.value.retry_after_s == pytest.approx(41.0)


def test_a_wait_within_the_deadline_is_waited_out(budget: RateBudget, time: VirtualTime) -> None:
    """The call is made when the window is over, not before and hardly later."""
    spend(budget, time, 1, left=0)
    began_s = time.monotonic()
    budget.acquire(WAITING, Deadline(45.0, time))
    assert 40.0 <= time.monotonic() - began_s <= 41.01


def test_a_spent_deadline_buys_nothing(budget: RateBudget, time: VirtualTime) -> None:
    """Nothing is spent on a call that could not be waited for."""
    with pytest.raises(DeadlineExceeded):
        budget.acquire(WAITING, Deadline(0.0, time))
    assert budget.snapshot().credits_left == 10


def test_a_refusal_stops_everybody(budget: RateBudget, time: VirtualTime) -> None:
    """After a 429 nobody calls before the server's time; then everything starts afresh."""
    budget.acquire(WAITING, Deadline.never(time))
    budget.answered(RateStatus(0, time.monotonic() + 55.0))
    budget.refused(55.0)
    for priority in Priority:
        with pytest.raises(RateLimited):
            budget.acquire(priority, Deadline(50.0, time))
    assert budget.snapshot().refused_for_s == pytest.approx(56.0)
    time.jump(56.0)
    budget.acquire(BACKGROUND, Deadline(0.1, time))
    assert budget.snapshot() == BudgetStatus(9, 10, 60.0, 0.0, (0, 0, 0))


def test_a_shorter_refusal_does_not_shorten_a_longer_one(
    budget: RateBudget, time: VirtualTime
) -> None:
    """Answers overtake each other: the latest moment holds."""
    budget.refused(50.0)
    budget.refused(3.0)
    assert budget.snapshot().refused_for_s == pytest.approx(51.0)


def test_others_calls_are_seen_in_the_answers(budget: RateBudget, time: VirtualTime) -> None:
    """Own count says 9 left, the server says 2: two it is."""
    spend(budget, time, 1, left=2)
    assert budget.snapshot().credits_left == 2
    spend(budget, time, 2)
    with pytest.raises(RateLimited):
        budget.acquire(WAITING, Deadline(5.0, time))


def test_an_answer_that_never_comes_is_given_up(budget: RateBudget, time: VirtualTime) -> None:
    """A call lost without a word takes its credit along for a window, not for ever."""
    budget.acquire(WAITING, Deadline.never(time))
    assert budget.snapshot().credits_left == 9
    time.jump(61.5)
    assert budget.snapshot().credits_left == 10


def test_the_caller_that_is_gone_stops_waiting(budget: RateBudget, time: VirtualTime) -> None:
    """A killed process leaves the queue within a poll, and nothing is spent for it."""
    spend(budget, time, 1, left=0)
    gone_at_s = time.monotonic() + 7.0
    with pytest.raises(Interrupted):
        budget.acquire(WAITING, Deadline.never(time), lambda: time.monotonic() >= gone_at_s)
    assert time.monotonic() == pytest.approx(gone_at_s, abs=0.06)
    assert budget.snapshot().waiting == (0, 0, 0)


@pytest.mark.parametrize(
    "numbers", [{"credits": 0}, {"window_s": 0.0}, {"window_s": math.nan}, {"reserve": 1.0}]
)
def test_numbers_that_cannot_be_meant(time: VirtualTime, numbers: dict[str, float]) -> None:
    """A budget of nothing would wait for ever: refused when it is made."""
    with pytest.raises(ValueError, match="no such budget"):
        RateBudget(time, **numbers)  # type: ignore[arg-type]  # the point of the test


def test_good_news_wakes_a_waiting_thread() -> None:
    """With the machine's clock and a real condition: the answer lets the next one go."""
    clock = SystemClock()
    budget = RateBudget(clock, credits=1)
    budget.acquire(WAITING, Deadline(5.0, clock))
    thread = threading.Thread(target=budget.acquire, args=(WAITING, Deadline.never(clock)))
    thread.start()
    wait_until(lambda: budget.snapshot().waiting == (1, 0, 0), "the thread to queue")
    budget.answered(RateStatus(1, clock.monotonic() + 60.0))
    thread.join(10.0)
    assert not thread.is_alive()


def queued(budget: RateBudget, time: VirtualTime, order: list[Priority]) -> list[str]:
    """Names of callers in the order in which they went, having come in ``order``, as threads."""
    went: list[str] = []
    came = threading.Semaphore(0)
    waiting = 0

    def caller(priority: Priority, name: str) -> Callable[[], None]:
        def call() -> None:
            budget.acquire(priority, Deadline.never(time))
            went.append(name)
            budget.answered(None)

        return call

    def wait(condition: threading.Condition, seconds: float) -> None:
        came.release()
        condition.wait()

    budget._wait = wait  # the queue's own threads wait for each other's word only
    threads = []
    for number, priority in enumerate(order):
        threads.append(threading.Thread(target=caller(priority, f"{priority.name}{number}")))
        threads[-1].start()
        came.acquire()
        waiting += 1
    assert sum(budget.snapshot().waiting) == waiting
    time.jump(100.0)
    budget.answered(None)  # any news wakes them
    for thread in threads:
        thread.join(10.0)
        assert not thread.is_alive()
    return went


def test_higher_priority_first_and_in_order_inside_one(time: VirtualTime) -> None:
    """Whoever came first goes first, among those who are equally urgent."""
    budget = RateBudget(time, credits=50, reserve=0.0)
    budget.acquire(WAITING, Deadline.never(time))
    budget.answered(RateStatus(0, time.monotonic() + 40.0))
    order = [LISTED, LISTED, WAITING, LISTED, WAITING]
    assert queued(budget, time, order) == ["WAITING2", "WAITING4", "LISTED0", "LISTED1", "LISTED3"]
