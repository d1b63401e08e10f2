"""Deadlines of operations: how long each kind of operation waits, and for which process.

A deadline is for silence: it does not run while the work waits in the queue for an API credit,
which has a known end. Who gives a timeout by an option means it for everything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import DeadlineExceeded, FastFail
from backlotfs.kernel.timeout_circuit import TimeoutCircuit

T = TypeVar("T")

#: Every operation on an open file, and every open, ends within this where nothing else was asked.
OPERATION_DEADLINE_S = 30.0
#: Operations that wait at a time: each holds a thread of the kernel adapter, which has 512, and
#: those that need no wait must always find one.
MOST_WAITS = 384
#: A `stat` or an open of a program that copies: it would end with an error where it could wait for
#: an API or a host that is down for a few minutes.
COPY_DEADLINE_S = 300.0


class Wait(NamedTuple):
    """One operation that waits.

    :ivar pid: of the thread that called, as the kernel gives it.
    :ivar embed_code: what it waits for.
    """

    pid: int
    embed_code: str


class _OperationWaiter(InterruptibleWait):
    """A waiter that `OperationDeadlines` knows of while it waits.

    With a guard it does not wait at all for a process that has run into its deadline a few times.
    """

    __slots__ = ("_guard", "_pid", "_waits")

    def __init__(
        self,
        deadline: Deadline,
        interrupted: Callable[[], bool],
        queued: Callable[[str], bool],
        *,
        persistent: bool,
        guard: TimeoutCircuit | None,
        pid: int,
        waits: dict[int, Wait],
    ) -> None:
        super().__init__(deadline, interrupted, queued, persistent=persistent)
        self._guard = guard
        self._pid = pid
        self._waits = waits

    def result(self, future: Future[T], doing: str, key: str = "") -> T:
        """As `InterruptibleWait.result`. :raises FastFail: at once, for such a process."""
        done = future.done()
        answer = super().result(future, doing, key) if done else self._wait(future, doing, key)
        if self._guard is not None:
            self._guard.answered(self._pid)
        return answer

    def _wait(self, future: Future[T], doing: str, key: str) -> T:
        if len(self._waits) >= MOST_WAITS:
            raise FastFail(f"{doing}: {MOST_WAITS} operations wait already")
        if self._guard is not None:
            self._guard.check(self._pid)
        here = threading.get_ident()
        self._waits[here] = Wait(self._pid, key)
        try:
            return super().result(future, doing, key)
        except DeadlineExceeded:
            if self._guard is not None:
                self._guard.timed_out(self._pid)
            raise
        finally:
            del self._waits[here]


class OperationDeadlines:
    """Makes the waiters of operations. Call it on the thread that serves the operation."""

    def __init__(
        self,
        clock: Clock,
        interrupted: Callable[[], bool],
        caller: Callable[[], int],
        *,
        limits: TimeLimits | None = None,
        stat_timeout_s: float | None = None,
        read_timeout_s: float | None = None,
        queued: Callable[[str], bool] = lambda _code: False,
        copies: Callable[[], bool] = lambda: False,
    ) -> None:
        """Put it together.

        :param interrupted: whether the caller of the operation is gone, or all must end.
        :param caller: its process id.
        :param limits: how much silence a `stat` and an open bear; None: the usual.
        :param stat_timeout_s: what a `stat` may take in all, instead.
        :param read_timeout_s: the same for an open.
        :param queued: whether the work on a source waits for an API credit.
        :param copies: whether the caller is a program that copies.
        """
        self._copies = copies
        self._limits = limits or TimeLimits()
        self._clock = clock
        self._interrupted = interrupted
        self._caller = caller
        self._stat_timeout_s = stat_timeout_s
        self._read_timeout_s = read_timeout_s
        self._queued = queued
        self._guard = TimeoutCircuit(clock)
        self._waits: dict[int, Wait] = {}  # by the thread that waits

    def waits(self) -> list[Wait]:
        """The operations that wait now, for ``status``."""
        return list(self._waits.values())

    def for_stat(self) -> InterruptibleWait:
        """For what file managers do to every file they see."""
        return self._waiter(self._stat_timeout_s, self._limits.stat_s, self._guard)

    def for_bytes(self) -> InterruptibleWait:
        """For open and read."""
        return self._waiter(self._read_timeout_s, self._limits.read_s, None)

    def _waiter(
        self, asked_s: float | None, usual_s: float, guard: TimeoutCircuit | None
    ) -> InterruptibleWait:
        copies = asked_s is None and self._copies()
        silence_s = COPY_DEADLINE_S if copies else usual_s
        return _OperationWaiter(
            Deadline(silence_s if asked_s is None else asked_s, self._clock),
            self._interrupted,
            self._queued if asked_s is None else lambda _code: False,
            persistent=copies or asked_s is not None,
            guard=guard if asked_s is None and not copies else None,
            pid=self._caller(),
            waits=self._waits,
        )
