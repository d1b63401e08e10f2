# SPDX-License-Identifier: Apache-2.0
"""Deadlines of operations, and fast failure for processes that keep timing out.

A default deadline is a limit for silence: it does not run while the work waits in the queue for an
API credit, because that wait has a known end. A timeout from an option includes such waits.

A file manager or scanner that stats ten thousand files of unknown size while the API is slow or
down would wait for ten thousand deadlines and look frozen. After a few timeouts in a row,
`TimeoutCircuit` makes every `stat` of that process that would have to wait fail at once, until some
time after its last timeout. Programs that copy, and waits with a timeout from an option, are not
refused.
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

#: Number of processes remembered; beyond it the one that timed out longest ago is forgotten.
_PROCESSES = 1024


class TimeoutCircuit:
    """Counts the timeouts in a row of each process. Any thread may call it; no call blocks.

    The process id is the one in the FUSE request. It is 0 for all callers in another PID
    namespace; since they cannot be distinguished, they are never refused.
    """

    def __init__(self, clock: Clock, *, strikes: int = 3, forget_s: float = 30.0) -> None:
        """Refuse after ``strikes`` timeouts in a row, each within ``forget_s`` seconds of the last.

        :raises ValueError: for less than one strike.
        """
        if strikes < 1:
            raise ValueError(f"strikes must be at least 1, not {strikes}")
        self._strikes = strikes
        self._lock = threading.Lock()
        self._timeouts: TTLCache[int, int] = TTLCache(_PROCESSES, forget_s, timer=clock.monotonic)

    def check(self, pid: int) -> None:
        """Check that a process may wait on the network.

        :raises FastFail: its last waits all timed out, not long ago.
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

        Do not call it for an operation that did not wait: in a folder with some known sizes the
        count would never reach the limit.
        """
        with self._lock:
            self._timeouts.pop(pid, None)


T = TypeVar("T")

#: Default limit for an open and for every operation on an open file.
OPERATION_DEADLINE_S = TimeLimits().read_s
#: Most operations that wait at a time. Each occupies one of the 512 threads of the session, and
#: operations that do not wait always need a free thread.
MOST_WAITS = 384


class Wait(NamedTuple):
    """One operation that waits.

    :ivar pid: id of the calling thread, as the kernel gives it.
    :ivar embed_code: the asset it waits for.
    """

    pid: int
    embed_code: str


class _OperationWaiter(InterruptibleWait):
    """A waiter that is listed in `OperationDeadlines.waits` while it waits.

    With a `TimeoutCircuit` it fails at once for a process whose last waits all timed out.
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
        """See `InterruptibleWait.result`. :raises FastFail: the circuit refuses the process."""
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


class OperationDeadlines:
    """Makes the waiters of operations. Call it on the thread that serves the operation."""

    def __init__(
        self,
        clock: Clock,
        interrupted: Callable[[], bool],
        caller: Callable[[], int],
        limits: TimeLimits,
        *,
        queued: Callable[[str], bool] = lambda _code: False,
        copies: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start with no process refused.

        :param interrupted: whether the caller of the operation was killed, or the mount ends.
        :param caller: returns the caller's process id.
        :param queued: whether the work on a source waits for an API credit.
        :param copies: whether the caller is a program that copies.
        """
        self._clock = clock
        self._interrupted = interrupted
        self._caller = caller
        self._limits = limits
        self._queued = queued
        self._copies = copies
        self._circuit = TimeoutCircuit(clock)
        self._waits: dict[int, Wait] = {}  # by the thread that waits

    def waits(self) -> list[Wait]:
        """The operations that wait now, for ``status``."""
        return list(self._waits.values())

    def for_stat(self) -> InterruptibleWait:
        """Make the waiter of a `stat`."""
        return self._waiter(self._limits.asked_stat_s, self._limits.stat_s, self._circuit)

    def for_open(self) -> InterruptibleWait:
        """Make the waiter of an open."""
        return self._waiter(self._limits.asked_read_s, self._limits.read_s, None)

    def _waiter(
        self, asked_s: float | None, usual_s: float, circuit: TimeoutCircuit | None
    ) -> InterruptibleWait:
        copies = asked_s is None and self._copies()
        silence_s = self._limits.copy_s if copies else usual_s
        return _OperationWaiter(
            Deadline(silence_s if asked_s is None else asked_s, self._clock),
            self._interrupted,
            self._queued if asked_s is None else lambda _code: False,
            persistent=copies or asked_s is not None,
            circuit=circuit if asked_s is None and not copies else None,
            pid=self._caller(),
            waits=self._waits,
        )
