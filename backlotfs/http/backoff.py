# SPDX-License-Identifier: Apache-2.0
"""Retry rules as a value, and the one loop that repeats a failed attempt.

Every retry of the package goes through `Backoff.run`: calls of the API, GETs on sources with all
they go through (`backlotfs.source.signed_get`), preview images. They are not put inside each other:
the API call that renews a URL in the middle of a read is a part of the read's attempt.

It knows errors and time, nothing of HTTP libraries. The delays are pure arithmetic
(`RetryPolicy.delay_s`).
"""

from __future__ import annotations

import logging
import random as random_module
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.time_limits import MAX_RETRY_DELAY_S
from backlotfs.errors import BacklotError, DeadlineExceeded, HostUnreachable, RemoteUnavailable

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
    max_delay_s: float = MAX_RETRY_DELAY_S
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


class TryAgain(Exception):  # no error: `Backoff.run` handles it
    """Another attempt is due at once, and nothing has failed: a redirect, an expired URL, a 429."""


@dataclass(slots=True)
class Backoff:
    """Repeats one operation until it succeeds, fails for good, or its deadline ends it.

    Belongs to the thread that makes it, which sleeps between the attempts.

    :ivar doing: what goes on, for messages: ``"GET /v2/assets from api.example"``. No secrets.
    :ivar random: gives numbers from 0 to 1.
    """

    policy: RetryPolicy
    deadline: Deadline
    clock: Clock
    doing: str
    random: Callable[[], float] = random_module.SystemRandom().random
    _failures: int = field(default=0, init=False)

    def progressed(self) -> None:
        """Forget the failures so far: only those without any progress between them add up."""
        self._failures = 0

    def run(self, attempt: Callable[[], T], *, but_not: tuple[type[BacklotError], ...] = ()) -> T:
        """Call ``attempt`` until it returns, or raises what another attempt would not cure.

        :param but_not: errors that are raised at once though they are transient.
        :raises DeadlineExceeded: the time was over before an attempt, or ended one, or a host asks
            for a longer pause than there is time.
        :raises BacklotError: else the last error of ``attempt``, as it was.
        """
        while True:
            self.deadline.check(self.doing)
            try:
                return attempt()
            except TryAgain:
                continue
            except BacklotError as error:
                if not error.transient or isinstance(error, but_not):
                    raise
                self._pause(error)

    def _pause(self, error: BacklotError) -> None:
        """Sleep before the next attempt: what the host asks for, and the backoff on top of it.

        So those that were sent away together do not come back together. A pause that would not end
        before the deadline is not begun: then ``error`` is raised.
        """
        self._failures += 1
        # an attempt cut short by the deadline is the deadline's failure, not the host's
        self.deadline.check(f"{self.doing} ({error})")
        left_s = self.deadline.remaining_s()
        asked_s = (isinstance(error, RemoteUnavailable) and error.retry_after_s) or 0.0
        if asked_s >= left_s and not isinstance(error, HostUnreachable):
            raise DeadlineExceeded(f"{error}, and asks for a pause of {asked_s:.0f} s")
        pause_s = max(0.0, asked_s) + self.policy.delay_s(self._failures, self.random())
        if self._failures >= self.policy.max_attempts or pause_s >= left_s:
            raise error
        _LOG.debug(
            "%s: trying again in %.2f s (attempt %d of %d failed: %s)",
            self.doing,
            pause_s,
            self._failures,
            self.policy.max_attempts,
            error,
        )
        self.clock.sleep(pause_s)
