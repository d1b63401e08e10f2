# SPDX-License-Identifier: Apache-2.0
"""Retries: pure delays, and a loop that obeys the policy and the deadline."""

from __future__ import annotations

import logging

import pytest

from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import (
    AnswerTimedOut,
    BacklotError,
    CircuitOpen,
    CredentialsRefused,
    DeadlineExceeded,
    RateLimited,
    RemoteUnavailable,
)
from backlotfs.http.backoff import Backoff, RetryPolicy, TryAgain
from tests.fakes.clocks import ManualClock

STEADY = RetryPolicy(max_attempts=4, first_delay_s=1.0, max_delay_s=3.0, jitter=0.0)


class Attempts:
    """Fails with each error in turn, then answers; may take time over it."""

    def __init__(self, clock: ManualClock, *errors: BacklotError, takes_s: float = 0.0) -> None:
        self.clock, self.errors, self.takes_s = clock, list(errors), takes_s
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        self.clock.advance(self.takes_s)
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def run(attempts: Attempts, seconds: float = 60.0, policy: RetryPolicy = STEADY) -> str:
    """The loop around these attempts."""
    deadline = Deadline(seconds, attempts.clock)
    return Backoff(policy, deadline, attempts.clock, "asking h").run(attempts)


def test_delays_double_up_to_the_cap() -> None:
    """Without jitter the delay is the cap itself; far attempts do not overflow."""
    assert [STEADY.delay_s(n, 0.9) for n in (1, 2, 3, 4, 10**6)] == [1, 2, 3, 3, 3]


def test_full_jitter_reaches_from_zero() -> None:
    """The random number places the delay anywhere below the cap; half jitter in its upper half."""
    full = RetryPolicy(first_delay_s=1.0, jitter=1.0)
    assert (full.delay_s(1, 0.0), full.delay_s(1, 0.5)) == (0.0, 0.5)
    assert RetryPolicy(first_delay_s=1.0, jitter=0.5).delay_s(1, 0.0) == 0.5


@pytest.mark.parametrize(
    "bad",
    [
        {"max_attempts": 0},
        {"first_delay_s": -1.0},
        {"max_delay_s": float("nan")},
        {"jitter": 1.5},
        {"jitter": -0.1},
    ],
)
def test_policies_that_cannot_be_meant(bad: dict[str, float]) -> None:
    """A policy of no attempts, negative delays or odd jitter is refused."""
    with pytest.raises(ValueError, match=r"attempt|negative|jitter"):
        RetryPolicy(**bad)  # type: ignore[arg-type]  # max_attempts is an int in its one case


def test_transient_errors_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The answer of the first attempt that works; each retry is one DEBUG line."""
    caplog.set_level(logging.DEBUG, "backlotfs")
    clock = ManualClock()
    attempts = Attempts(clock, RemoteUnavailable("down"), RemoteUnavailable("still down"))
    assert run(attempts) == "answer"
    assert clock.slept_s == [1, 2]
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (10, "asking h: trying again in 1.00 s (attempt 1 of 4 failed: down)"),
        (10, "asking h: trying again in 2.00 s (attempt 2 of 4 failed: still down)"),
    ]


def test_refusals_are_not() -> None:
    """An error that is not transient ends it at once, as it is."""
    attempts = Attempts(ManualClock(), CredentialsRefused("no"))
    with pytest.raises(CredentialsRefused, match="no"):
        run(attempts)
    assert attempts.count == 1


def test_the_last_error_after_the_last_attempt() -> None:
    """When attempts are spent the caller gets the last error itself."""
    errors = [RemoteUnavailable(f"n{n}") for n in range(4)]
    attempts = Attempts(ManualClock(), *errors)
    with pytest.raises(RemoteUnavailable) as caught:
        run(attempts)
    assert caught.value is errors[3]
    assert attempts.count == 4


def test_a_wait_that_does_not_fit_is_not_begun() -> None:
    """With 0.5 s left, a wait of 1 s is no use: the error comes now."""
    clock = ManualClock()
    with pytest.raises(RemoteUnavailable):
        run(Attempts(clock, RemoteUnavailable("down")), seconds=0.5)
    assert clock.slept_s == []


def test_an_attempt_that_used_up_the_deadline() -> None:
    """It is the deadline's failure, and says what the last trouble was."""
    attempts = Attempts(ManualClock(), RemoteUnavailable("h did not answer"), takes_s=5.0)
    with pytest.raises(DeadlineExceeded, match=r"asking h \(h did not answer\)"):
        run(attempts, seconds=5.0)


def test_a_deadline_that_has_passed() -> None:
    """Nothing is attempted."""
    attempts = Attempts(ManualClock())
    with pytest.raises(DeadlineExceeded, match="asking h"):
        run(attempts, seconds=0.0)
    assert attempts.count == 0


def test_a_clock_that_oversleeps() -> None:
    """A sleep that outlasts the deadline (a suspended laptop) ends in no further attempt."""

    class Suspended(ManualClock):
        def sleep(self, seconds: float) -> None:
            self.advance(seconds + 3600)

    attempts = Attempts(Suspended(), RemoteUnavailable("down"))
    with pytest.raises(DeadlineExceeded):
        run(attempts)
    assert attempts.count == 1


def test_a_pause_that_a_host_asks_for() -> None:
    """It is kept, plus the backoff; one that would outlast the deadline is not begun."""
    clock = ManualClock()
    slow = RemoteUnavailable("h answers 503", status=503, retry_after_s=20)
    assert run(Attempts(clock, slow)) == "answer"
    assert clock.slept_s == [21]
    clock = ManualClock()
    later = RemoteUnavailable("h answers 503", status=503, retry_after_s=60)
    with pytest.raises(DeadlineExceeded, match="h answers 503, and asks for a pause of 60 s"):
        run(Attempts(clock, later))
    assert clock.slept_s == []
    assert run(Attempts(clock, RemoteUnavailable("odd", retry_after_s=-5))) == "answer"
    assert clock.slept_s == [1]


def test_a_host_that_rests_is_waited_for() -> None:
    """As a pause; where there is no time for it, the host is what is told of."""
    clock = ManualClock()
    assert run(Attempts(clock, CircuitOpen("h is down", retry_after_s=0.5))) == "answer"
    assert clock.slept_s == [1.5]
    with pytest.raises(CircuitOpen):
        run(Attempts(clock, CircuitOpen("h is down", retry_after_s=5)), seconds=3.0)


def test_credits_that_are_spent_are_no_failure_of_a_host() -> None:
    """The rate limiter has waited for them already."""
    with pytest.raises(RateLimited):
        run(Attempts(ManualClock(), RateLimited("no credit", retry_after_s=1)))


def test_another_attempt_at_once_is_no_failure() -> None:
    """As many as are asked for; one that names an error ends with it after its time."""
    clock = ManualClock()
    left = 20

    def redirected() -> str:
        nonlocal left
        left -= 1
        if left:
            raise TryAgain
        return "answer"

    assert Backoff(STEADY, Deadline(60, clock), clock, "asking h").run(redirected) == "answer"
    assert clock.slept_s == []


def test_only_failures_without_progress_add_up() -> None:
    """An operation that gets on has its attempts again."""
    clock = ManualClock()
    backoff = Backoff(STEADY, Deadline(600, clock), clock, "asking h")
    attempts = Attempts(clock, *[RemoteUnavailable("cut")] * 20)

    def attempt() -> str:
        backoff.progressed()
        return attempts()

    assert backoff.run(attempt) == "answer"
    assert clock.slept_s == [1] * 20


def test_an_excused_failure_is_no_attempt() -> None:
    """The others add up, and the delay grows with each of them."""
    clock = ManualClock()
    policy = RetryPolicy(max_attempts=2, first_delay_s=1.0, jitter=0.0)
    backoff = Backoff(policy, Deadline(600, clock), clock, "asking h")
    attempts = Attempts(clock, *[RemoteUnavailable("busy")] * 9)

    def attempt() -> str:
        if attempts.count < 4:
            backoff.excuse()
        return attempts()

    with pytest.raises(RemoteUnavailable):
        backoff.run(attempt)
    assert clock.slept_s == [1, 2, 4, 8, 8]
    assert attempts.count == 6


def test_errors_that_the_caller_deals_with() -> None:
    """They are raised at once though they are transient."""
    clock = ManualClock()
    attempts = Attempts(clock, AnswerTimedOut("silent"))
    with pytest.raises(AnswerTimedOut):
        Backoff(STEADY, Deadline(60, clock), clock, "x").run(attempts, but_not=(AnswerTimedOut,))
    assert attempts.count == 1
