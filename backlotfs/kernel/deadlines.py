"""Deadlines of operations: how long each kind of operation waits, and for which process.

A deadline is for silence: it does not run while the work waits in the queue for an API credit,
which has a known end. A timeout that was given by an option counts everything.

A file manager or a scanner that stats ten thousand files of unknown size, while the API is slow or
down, would wait for a deadline ten thousand times, and look frozen. `TimeoutCircuit` refuses a
process after a few such waits in a row: every further wait fails at once, until the process has
asked for nothing for a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from cachetools import TTLCache

from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import DeadlineExceeded, FastFail

#: Processes remembered; beyond it the one that timed out longest ago is forgotten.
_PROCESSES = 1024


class TimeoutCircuit:
    """Counts the timeouts in a row of each process. Any thread may call it; no call blocks.

    The process id is the one that FUSE gives for a request. It is 0 for callers in another
    process namespace, and those cannot be told apart: they are never refused.
    """

    def __init__(self, clock: Clock, *, strikes: int = 3, forget_s: float = 30.0) -> None:
        """``strikes`` timeouts in a row, each at most ``forget_s`` seconds after the last.

        :raises ValueError: for less than one strike.
        """
        if strikes < 1:
            raise ValueError(f"strikes must be at least 1, not {strikes}")
        self._strikes = strikes
        self._lock = threading.Lock()
        self._timeouts: TTLCache[int, int] = TTLCache(_PROCESSES, forget_s, timer=clock.monotonic)

    def check(self, pid: int) -> None:
        """Check that a process may wait on the network.

        :raises FastFail: when its last waits all timed out, and not long ago.
        """
        with self._lock:
            timeouts = self._timeouts.get(pid, 0)
        if timeouts >= self._strikes:
            raise FastFail(
                f"process {pid} has met {timeouts} timeouts in a row: not waiting again so soon"
            )

    def timed_out(self, pid: int) -> None:
        """Count a wait of this process that ended at its deadline."""
        if pid <= 0:
            return
        with self._lock:
            self._timeouts[pid] = self._timeouts.get(pid, 0) + 1

    def answered(self, pid: int) -> None:
        """Forget the timeouts of a process: a wait was answered, by a result or any other error.

        Not for what was known without a wait: half of a folder being known says nothing about
        the other half, and the count would never get anywhere.
        """
        with self._lock:
            self._timeouts.pop(pid, None)


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

    With a `TimeoutCircuit` it does not wait for a process whose last waits all timed out.
    """

    __slots__ = ("_circuit", "_pid", "_waits")

    def __init__(
        self,
        deadline: Deadline,
        interrupted: Callable[[], bool],
        queued: Callable[[str], bool],
        *,
        persistent: bool,
        circuit: TimeoutCircuit | None,
        pid: int,
        waits: dict[int, Wait],
    ) -> None:
        super().__init__(deadline, interrupted, queued, persistent=persistent)
        self._circuit = circuit
        self._pid = pid
        self._waits = waits

    def result(self, future: Future[T], doing: str, key: str = "") -> T:
        """As `InterruptibleWait.result`. :raises FastFail: at once, for such a process."""
        done = future.done()
        answer = super().result(future, doing, key) if done else self._wait(future, doing, key)
        if self._circuit is not None:
            self._circuit.answered(self._pid)
        return answer

    def _wait(self, future: Future[T], doing: str, key: str) -> T:
        if len(self._waits) >= MOST_WAITS:
            raise FastFail(f"{doing}: {MOST_WAITS} operations wait already")
        if self._circuit is not None:
            self._circuit.check(self._pid)
        here = threading.get_ident()
        self._waits[here] = Wait(self._pid, key)
        try:
            return super().result(future, doing, key)
        except DeadlineExceeded:
            if self._circuit is not None:
                self._circuit.timed_out(self._pid)
            raise
        finally:
            del self._waits[here]


class OperationTimeouts(NamedTuple):
    """How long operations may take.

    :ivar limits: how much silence a `stat` and an open bear.
    :ivar stat_s: what a `stat` may take in all, instead. :ivar read_s: the same for an open.
    """

    limits: TimeLimits = TimeLimits()
    stat_s: float | None = None
    read_s: float | None = None


class OperationDeadlines:
    """Makes the waiters of operations. Call it on the thread that serves the operation."""

    def __init__(
        self,
        clock: Clock,
        interrupted: Callable[[], bool],
        caller: Callable[[], int],
        timeouts: OperationTimeouts,
        *,
        queued: Callable[[str], bool] = lambda _code: False,
        copies: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start with no process refused.

        :param interrupted: whether the caller of the operation is gone, or all must end.
        :param caller: its process id.
        :param queued: whether the work on a source waits for an API credit.
        :param copies: whether the caller is a program that copies.
        """
        self._clock = clock
        self._interrupted = interrupted
        self._caller = caller
        self._timeouts = timeouts
        self._queued = queued
        self._copies = copies
        self._circuit = TimeoutCircuit(clock)
        self._waits: dict[int, Wait] = {}  # by the thread that waits

    def waits(self) -> list[Wait]:
        """The operations that wait now, for ``status``."""
        return list(self._waits.values())

    def for_stat(self) -> InterruptibleWait:
        """The waiter of a `stat`, which file managers do to every file they see."""
        return self._waiter(self._timeouts.stat_s, self._timeouts.limits.stat_s, self._circuit)

    def for_open(self) -> InterruptibleWait:
        """The waiter of an open."""
        return self._waiter(self._timeouts.read_s, self._timeouts.limits.read_s, None)

    def _waiter(
        self, asked_s: float | None, usual_s: float, circuit: TimeoutCircuit | None
    ) -> InterruptibleWait:
        copies = asked_s is None and self._copies()
        silence_s = COPY_DEADLINE_S if copies else usual_s
        return _OperationWaiter(
            Deadline(silence_s if asked_s is None else asked_s, self._clock),
            self._interrupted,
            self._queued if asked_s is None else lambda _code: False,
            persistent=copies or asked_s is not None,
            circuit=circuit if asked_s is None and not copies else None,
            pid=self._caller(),
            waits=self._waits,
        )
