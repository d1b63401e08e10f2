# SPDX-License-Identifier: Apache-2.0
"""Waits of operations: they end with the result, at the deadline, or when the caller is killed.

A thread that serves the kernel does no network I/O itself; it waits here for a future that a worker
thread completes. Every `POLL_S` a wait checks whether the caller was killed or the mount ends,
because a killed process stays in state D until its request is answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import Interrupted

#: Seconds between two checks whether the caller was killed; shorter than a person notices.
POLL_S = 0.05

T = TypeVar("T")


def _not_queued(_key: str) -> bool:
    return False


class InterruptibleWait:
    """Waits for a future until a deadline passes or the caller is gone. Belongs to one thread."""

    __slots__ = ("deadline", "interrupted", "persistent", "queued")

    def __init__(
        self,
        deadline: Deadline,
        interrupted: Callable[[], bool],
        queued: Callable[[str], bool] = _not_queued,
        *,
        persistent: bool = False,
    ) -> None:
        """Make a waiter; the waiting thread calls the two functions.

        :param interrupted: whether the caller is gone.
        :param queued: whether the work on an asset waits for an API credit. Such a wait has a known
            end, so the deadline does not run meanwhile.
        :param persistent: whether temporary failures are tried again until the deadline.
        """
        self.persistent = persistent
        self.deadline = deadline
        self.interrupted = interrupted
        self.queued = queued

    def result(self, future: Future[T], doing: str, key: str = "") -> T:
        """Wait for the future's result or its error.

        :param doing: names the operation in errors: ``"read of <embed code>"``.
        :param key: the asset, for `queued`.
        :raises DeadlineExceeded: the deadline has passed.
        :raises Interrupted: the caller is gone.
        """
        while True:
            left_s = self.deadline.remaining_s()
            queued = bool(key) and self.queued(key)
            try:
                return future.result(POLL_S if queued else min(POLL_S, left_s))
            except TimeoutError:
                if future.done():
                    return future.result()  # the call itself failed with a TimeoutError
            if self.interrupted():
                raise Interrupted(f"{doing}: the caller is gone")
            if queued:
                self.deadline.extend(left_s - self.deadline.remaining_s())
            else:
                self.deadline.check(doing)

    def pause(self, seconds: float, doing: str) -> None:
        """Sleep before another attempt.

        :raises DeadlineExceeded: the deadline has passed. :raises Interrupted: the caller is gone.
        """
        until_s = self.deadline.remaining_s() - seconds
        while self.deadline.remaining_s() > max(0.0, until_s):
            if self.interrupted():
                raise Interrupted(f"{doing}: the caller is gone")
            time.sleep(POLL_S)
        self.deadline.check(doing)


class WouldWait(Exception):  # no error: the caller of `refuse_to_wait` handles it
    """The result is not known yet, and the caller does not wait."""


def refuse_to_wait() -> InterruptibleWait:
    """Replaces a function that makes a waiter, for callers that never wait.

    :raises WouldWait: always.
    """
    raise WouldWait
