"""How long the callers of operations wait, and which of them no longer do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from backlotfs.clock import Clock, Deadline
from backlotfs.errors import DeadlineExceeded
from backlotfs.kernel.scan_guard import ScanGuard
from backlotfs.waiting import Waiter

T = TypeVar("T")

#: Every operation on an open file, and every open, ends within this where nothing else was asked.
OPERATION_DEADLINE_S = 30.0
#: A `stat` of a source not yet known: long enough for a slow API, short enough for a file manager.
STAT_DEADLINE_S = 5.0


class _GuardedWaiter(Waiter):
    """Does not wait at all for a process that has run into this deadline a few times."""

    __slots__ = ("_guard", "_pid", "_waiting")

    def __init__(
        self,
        deadline: Deadline,
        interrupted: Callable[[], bool],
        guard: ScanGuard,
        pid: int,
        waiting: set[object],
    ) -> None:
        super().__init__(deadline, interrupted)
        self._guard = guard
        self._pid = pid
        self._waiting = waiting

    def result(self, future: Future[T], doing: str) -> T:
        """As `Waiter.result`. :raises NotWaiting: at once, for such a process."""
        if not future.done():
            self._guard.check(self._pid)
        self._waiting.add(self)
        try:
            answer = super().result(future, doing)
        except DeadlineExceeded:
            self._guard.timed_out(self._pid)
            raise
        finally:
            self._waiting.discard(self)
        self._guard.answered(self._pid)
        return answer


class Patience:
    """Makes the waiters of operations. Call it on the thread that serves the operation."""

    def __init__(
        self,
        clock: Clock,
        interrupted: Callable[[], bool],
        caller: Callable[[], int],
        *,
        stat_deadline_s: float = STAT_DEADLINE_S,
        read_deadline_s: float = OPERATION_DEADLINE_S,
    ) -> None:
        """Put it together.

        :param interrupted: whether the caller of the operation is gone, or all must end.
        :param caller: its process id.
        """
        self._clock = clock
        self._interrupted = interrupted
        self._caller = caller
        self._stat_deadline_s = stat_deadline_s
        self._read_deadline_s = read_deadline_s
        self._guard = ScanGuard(clock)
        self._waiting: set[object] = set()

    def stat_waits(self) -> bool:
        """Whether a `stat` waits for the network now: the kernel holds its folder's lock."""
        return bool(self._waiting)

    def for_stat(self) -> Waiter:
        """For what file managers do to every file they see."""
        deadline = Deadline(self._stat_deadline_s, self._clock)
        return _GuardedWaiter(
            deadline, self._interrupted, self._guard, self._caller(), self._waiting
        )

    def for_bytes(self) -> Waiter:
        """For open and read."""
        return Waiter(Deadline(self._read_deadline_s, self._clock), self._interrupted)
