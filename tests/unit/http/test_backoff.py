"""Retries: pure delays, and a loop that obeys the policy and the deadline."""

from __future__ import annotations

import logging

import pytest

from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import (
    BacklotError,
    CredentialsRefused,
    DeadlineExceeded,
    RateLimited,
    RemoteUnavailable,
)
from backlotfs.http.backoff import RetryPolicy, call_with_retries
from tests.unit.api.manual_clock import ManualClock

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
    return call_with_retries(
        attempts, policy=policy, deadline=deadline, clock=attempts.clock, doing="asking h"
    )


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


def test_rate_limits_wait_what_the_server_says() -> None:
    """Plus the backoff; or fail at once, also when the deadline is over."""
    clock = ManualClock()
    assert run(Attempts(clock, RateLimited("slow", retry_after_s=20))) == "answer"
    assert clock.slept_s == [21]
    with pytest.raises(RateLimited):
        run(Attempts(ManualClock(), RateLimited("slow", retry_after_s=60)))
    with pytest.raises(RateLimited):
        run(Attempts(ManualClock(), RateLimited("slow", retry_after_s=1), takes_s=60))
    clock = ManualClock()
    assert run(Attempts(clock, RateLimited("odd", retry_after_s=-5))) == "answer"
    assert clock.slept_s == [1]
