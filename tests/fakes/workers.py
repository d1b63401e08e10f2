# SPDX-License-Identifier: Apache-2.0
"""Workers that run their jobs when a test says so, and threads that start at the same moment."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.concurrency.workers import Workers

#: More than any step of a test takes; a gate that is not opened by then fails the test.
PATIENCE_S = 30.0
#: Time limit of tests of waits, in seconds: without the deadline that they test, they would wait
#: for ever.
STUCK_S = 60


class InlineWorkers(Workers):
    """Runs each job where it is submitted."""

    def __init__(self) -> None:
        super().__init__(1, "inline")

    def submit(
        self,
        job: Callable[[], None],
        *,
        next_here: bool = False,  # noqa: ARG002  # jobs have no threads here
    ) -> None:
        job()


class HeldWorkers(Workers):
    """Keeps jobs until the test runs them."""

    def __init__(self) -> None:
        super().__init__(1, "held")
        self.jobs: deque[Callable[[], None]] = deque()

    def submit(
        self,
        job: Callable[[], None],
        *,
        next_here: bool = False,  # noqa: ARG002  # jobs have no threads here
    ) -> None:
        self.jobs.append(job)

    def run_all(self) -> None:
        """Run what is held, and what that submits, in order."""
        while self.jobs:
            self.jobs.popleft()()

    def run_meanwhile(self) -> bool:
        """For an `InterruptibleWait`: run everything held while it waits; never interrupted."""
        self.run_all()
        return False


def waiter(seconds: float = PATIENCE_S) -> InterruptibleWait:
    """The patience of an operation that nobody interrupts."""
    return InterruptibleWait(Deadline(seconds, SystemClock()), lambda: False)


def in_threads(count: int, call: Callable[[int], object]) -> list[threading.Thread]:
    """Start ``call(0)`` … at the same moment, each on a thread of its own."""
    barrier = threading.Barrier(count)

    def body(number: int) -> None:
        barrier.wait(PATIENCE_S)
        call(number)

    # A thread that is stuck fails its test, and must not keep the process from ending.
    threads = [
        threading.Thread(target=body, args=(number,), daemon=True) for number in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads


def join_all(threads: list[threading.Thread]) -> None:
    """Wait for all of them to end."""
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a thread is stuck"
