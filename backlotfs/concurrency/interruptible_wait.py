"""How an operation waits: until the result, its deadline, or the death of its caller.

A thread that serves the kernel never does network I/O itself; it waits here for a future that some
worker fills. Each wait looks every `POLL_S` whether the caller was killed or the mount is being
taken down, because a SIGKILLed reader stays in D state until its request is answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import Interrupted

#: Seconds between two looks at "was the caller killed?": far below what a person notices.
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
        """Ask these from the waiting thread only.

        :param interrupted: whether the caller is gone.
        :param queued: whether the work on an asset waits for an API credit: a wait with a known
            end, so the deadline does not run meanwhile.
        :param persistent: whether work that failed for the moment is to be begun again until the
            deadline.
        """
        self.persistent = persistent
        self.deadline = deadline
        self.interrupted = interrupted
        self.queued = queued

    def result(self, future: Future[T], doing: str, key: str = "") -> T:
        """The future's result or its error.

        :param doing: for the message of a deadline: ``"read of <embed code>"``.
        :param key: the asset, for `queued`.
        :raises DeadlineExceeded: when the time is spent.
        :raises Interrupted: when the caller is gone.
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
        """Sleep before the work is begun again.

        :raises DeadlineExceeded: when the time is spent. :raises Interrupted: the caller is gone.
        """
        until_s = self.deadline.remaining_s() - seconds
        while self.deadline.remaining_s() > max(0.0, until_s):
            if self.interrupted():
                raise Interrupted(f"{doing}: the caller is gone")
            time.sleep(POLL_S)
        self.deadline.check(doing)


class WouldWait(Exception):  # no error: the caller of `refuse_to_wait` handles it
    """An answer needs a wait, and the caller does not wait."""


def refuse_to_wait() -> InterruptibleWait:
    """In the place of a function that makes a waiter. :raises WouldWait: always."""
    raise WouldWait
