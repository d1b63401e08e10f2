"""Retry rules as a value, and the loop that obeys them.

Knows errors and time, nothing of HTTP libraries: the API client and the range fetcher both use it.
The delays are pure arithmetic (:meth:`RetryPolicy.delay_s`); the loop is tenacity's, with the
sleep, the randomness and the deadline handed in.
"""

from __future__ import annotations

import logging
import random as random_module
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import CircuitOpen, RateLimited, RemoteUnavailable

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
# 2 ** 62 times any first delay is beyond every cap; more would only overflow the float
_MAX_DOUBLINGS = 62


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently an operation is tried again. Immutable, thread-safe.

    :ivar max_attempts: tries in all, the first included; 1 means no retry.
    :ivar first_delay_s: upper end of the delay after the first failure; it doubles each time.
    :ivar max_delay_s: what the doubling stops at.
    :ivar jitter: random part of a delay, 0 (none) to 1 (full jitter: anything from 0 up).
    """

    max_attempts: int = 5
    first_delay_s: float = 0.25
    max_delay_s: float = 8.0
    jitter: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        :raises ValueError: for no attempt at all, a negative delay, or jitter outside 0 to 1.
        """
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if not (self.first_delay_s >= 0 and self.max_delay_s >= 0):
            raise ValueError("a retry delay cannot be negative")
        if not 0.0 <= self.jitter <= 1.0:
            raise ValueError(f"jitter is a part from 0 to 1, not {self.jitter}")

    def delay_s(self, attempt: int, random: float) -> float:
        """Seconds to wait after failed attempt number ``attempt`` (from 1).

        :param random: a number from 0 (included) to 1, which places the delay inside its jitter.
        """
        doublings = min(max(attempt, 1) - 1, _MAX_DOUBLINGS)
        longest = min(self.max_delay_s, self.first_delay_s * 2.0**doublings)
        return longest * (1.0 - self.jitter + self.jitter * random)


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: a :class:`RemoteUnavailable`, 429 included."""
    return isinstance(error, RemoteUnavailable)


def call_with_retries(
    attempt: Callable[[], T],
    *,
    policy: RetryPolicy,
    deadline: Deadline,
    clock: Clock,
    doing: str,
    retryable: Callable[[BaseException], bool] = is_transient,
    random: Callable[[], float] = random_module.random,
) -> T:
    """Call ``attempt`` until it returns, fails for good, or the policy or the deadline ends it.

    A :class:`RateLimited` waits what the server asked for, a :class:`CircuitOpen` until the host's
    rest is over (and the backoff on top, so that many waiters do not come back in one instant). A
    wait that would not end before the deadline is not begun: the last error is raised at once. The
    sleeps never add up to more than the deadline.

    Any thread may call; the calling thread sleeps.

    :param doing: what goes on, for messages: ``"GET /v2/assets from api.example"``. No secrets.
    :param retryable: which errors are worth another attempt.
    :param random: gives numbers from 0 to 1.
    :raises DeadlineExceeded: the deadline had passed before an attempt, or passed during one.
    :raises BaseException: else the last error of ``attempt``, as it was.
    """

    def guarded() -> T:
        deadline.check(doing)
        return attempt()

    def wait_s(state: tenacity.RetryCallState) -> float:
        error = _error_of(state)
        asked_s = error.retry_after_s if isinstance(error, RateLimited | CircuitOpen) else None
        return max(0.0, asked_s or 0.0) + policy.delay_s(state.attempt_number, random())

    def give_up(state: tenacity.RetryCallState) -> bool:
        spent = state.attempt_number >= policy.max_attempts
        return spent or state.upcoming_sleep >= deadline.remaining_s()

    def note(state: tenacity.RetryCallState) -> None:
        _LOG.debug(
            "%s: trying again in %.2f s (attempt %d of %d failed: %s)",
            doing,
            state.upcoming_sleep,
            state.attempt_number,
            policy.max_attempts,
            _error_of(state),
        )

    retrying = tenacity.Retrying(
        sleep=clock.sleep,
        retry=tenacity.retry_if_exception(retryable),
        wait=wait_s,
        stop=give_up,
        before_sleep=note,
        reraise=True,
    )
    try:
        return retrying(guarded)
    except Exception as error:
        if retryable(error) and not isinstance(error, RateLimited):
            # an attempt cut short by the deadline is the deadline's failure, not the host's
            deadline.check(f"{doing} ({error})")
        raise


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
