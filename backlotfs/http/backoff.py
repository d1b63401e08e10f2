# SPDX-License-Identifier: Apache-2.0
"""Retry rules as a value, and the one loop that repeats a failed attempt.

Every retry of the package goes through `Backoff.run`: calls of the API, GETs on sources
(`backlotfs.source.signed_get`) and preview images. These loops are not nested: the API call that
renews a URL during a read is a part of the read's attempt.

This module uses no HTTP library. `RetryPolicy.delay_s` only computes a delay.
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
# 2 ** 62 times any first delay is above every limit; more doublings could overflow the float
_MAX_DOUBLINGS = 62


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and after which delays an operation is tried again. Immutable, thread-safe.

    :ivar max_attempts: the error is raised after this many failures without progress between them;
        1 means no retry.
    :ivar first_delay_s: upper end of the delay after the first failure; it doubles each time.
    :ivar max_delay_s: upper end of all delays.
    :ivar jitter: random part of a delay, 0 (none) to 1 (full jitter: anything from 0 up).
    """

    max_attempts: int = 5
    first_delay_s: float = 0.25
    max_delay_s: float = MAX_RETRY_DELAY_S
    jitter: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that make no sense.

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

        :param random: a number from 0 (included) to 1, which selects the delay within the jitter.
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

    :ivar doing: the operation, for messages: ``"GET /v2/assets from api.example"``. No secrets.
    :ivar random: gives numbers from 0 to 1.
    """

    policy: RetryPolicy
    deadline: Deadline
    clock: Clock
    doing: str
    random: Callable[[], float] = random_module.SystemRandom().random
    _failures: int = field(default=0, init=False)
    _excused: int = field(default=0, init=False)

    def progressed(self) -> None:
        """Reset the number of failures: only failures without progress between them add up."""
        self._failures = self._excused = 0

    def excuse(self) -> None:
        """Do not count the failure of this attempt; the delay after it grows all the same."""
        self._excused += 1

    def run(self, attempt: Callable[[], T], *, but_not: tuple[type[BacklotError], ...] = ()) -> T:
        """Call ``attempt`` until it returns, or raises an error that another attempt cannot cure.

        :param but_not: errors that are raised at once though they are transient.
        :raises DeadlineExceeded: the deadline passed before or during an attempt, or a host asks
            for a pause that is longer than the time left.
        :raises BacklotError: otherwise the last error of ``attempt``, unchanged.
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
        """Sleep before the next attempt: the pause that the host asks for, plus the backoff.

        Because of the backoff, callers that were refused together do not try again together. If
        the pause would not end before the deadline, ``error`` is raised at once.
        """
        self._failures += 1
        max_failures = self.policy.max_attempts + self._excused
        # if the deadline ended the attempt, the error is that of the deadline, not of the host
        self.deadline.check(f"{self.doing} ({error})")
        left_s = self.deadline.remaining_s()
        asked_s = (isinstance(error, RemoteUnavailable) and error.retry_after_s) or 0.0
        if asked_s >= left_s and not isinstance(error, HostUnreachable):
            raise DeadlineExceeded(f"{error}, and asks for a pause of {asked_s:.0f} s")
        pause_s = max(0.0, asked_s) + self.policy.delay_s(self._failures, self.random())
        if self._failures >= max_failures or pause_s >= left_s:
            raise error
        _LOG.debug(
            "%s: trying again in %.2f s (attempt %d of %d failed: %s)",
            self.doing,
            pause_s,
            self._failures,
            max_failures,
            error,
        )
        self.clock.sleep(pause_s)
