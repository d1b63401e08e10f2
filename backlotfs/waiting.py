"""How an operation waits: until the result, its deadline, or the death of whoever asked.

A thread that serves the kernel never does network I/O itself; it waits here for a future that some
worker fills. Each wait looks every `POLL_S` whether the caller was killed or the mount is being
taken down, because a SIGKILLed reader stays in D state until its request is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from backlotfs.clock import Deadline
from backlotfs.errors import Interrupted

#: Seconds between two looks at "was the caller killed?": far below what a person notices.
POLL_S = 0.05

T = TypeVar("T")


class Waiter:
    """The patience of one operation: a deadline and a question. Belongs to one thread."""

    __slots__ = ("deadline", "interrupted")

    def __init__(self, deadline: Deadline, interrupted: Callable[[], bool]) -> None:
        """``interrupted``: whether the caller is gone; asked from the waiting thread only."""
        self.deadline = deadline
        self.interrupted = interrupted

    def result(self, future: Future[T], doing: str) -> T:
        """The future's result or its error.

        :param doing: for the message of a deadline: ``"reading <embed code>"``.
        :raises DeadlineExceeded: when the time is spent.
        :raises Interrupted: when the caller is gone.
        """
        while True:
            try:
                return future.result(min(POLL_S, self.deadline.remaining_s()))
            except TimeoutError:
                if future.done():
                    return future.result()  # the call itself failed with a TimeoutError
            if self.interrupted():
                raise Interrupted(f"{doing}: the caller is gone")
            self.deadline.check(doing)
