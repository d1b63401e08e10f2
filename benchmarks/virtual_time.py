# SPDX-License-Identifier: Apache-2.0
"""Hours in seconds: threads that take turns, on a clock that jumps from one to the next.

Theory of operation. Threads are real, but only one of them runs at a time: whoever waits (sleeps,
or waits for a condition) enters when it wants to go on and hands its turn to the one that is due
next, and the time becomes that one's. So nothing runs in parallel, every run is the same as the
last, and code written for threads and a `Clock` needs no change. What blocks a thread by other
means would block them all; the stand-ins here replace what the catalog's layers use.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_LOOK_S = 0.01
#: Any wait is at least this long: one too short for a float to show would be one for ever.
_TICK_S = 1e-6


class Over(BaseException):
    """The simulation has ended: unwinds a thread that waits."""


class _Turn:
    """One wait of one thread."""

    __slots__ = ("at_s", "gate")

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        self.gate = threading.Semaphore(0)


class VirtualTime:
    """Implements `concurrency.clock.Clock`. The thread that makes it has the first turn."""

    def __init__(self, start_s: float) -> None:
        """``start_s``: the first moment, seconds since the epoch."""
        self._start_s = start_s
        self._now_s = 0.0
        self._turns: list[tuple[float, int, _Turn]] = []
        self._order = itertools.count()
        self._threads: dict[threading.Thread, _Turn] = {}
        self._over = False

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._start_s + self._now_s

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Let others have their turns until then."""
        self.wait(self.turn(seconds))

    def spawn(self, job: Callable[[], None]) -> None:
        """Run ``job`` as a thread, when its turn comes: soon."""
        turn = self.turn(0.0)

        def body() -> None:
            turn.gate.acquire()
            try:
                if not self._over:
                    job()
            except Over:
                pass
            finally:
                del self._threads[threading.current_thread()]
            if not self._over:
                self._next().gate.release()

        thread = threading.Thread(target=body, daemon=True)
        self._threads[thread] = turn
        thread.start()

    def turn(self, seconds: float) -> _Turn:
        """A turn of the calling thread, that long from now; see `wait` and `wake`."""
        turn = _Turn(self._now_s + (max(_TICK_S, seconds) if seconds > 0 else 0.0))
        heapq.heappush(self._turns, (turn.at_s, next(self._order), turn))
        return turn

    def wait(self, turn: _Turn) -> None:
        """Return when it is that turn's. :raises Over: the simulation has ended."""
        if self._over:
            raise Over
        thread = threading.current_thread()
        if thread in self._threads:
            self._threads[thread] = turn
        following = self._next()
        if following is not turn:
            following.gate.release()
            turn.gate.acquire()
        if self._over:
            raise Over

    def wake(self, turn: _Turn) -> None:
        """Have that turn now instead of later."""
        if turn.at_s > self._now_s:
            turn.at_s = self._now_s
            heapq.heappush(self._turns, (turn.at_s, next(self._order), turn))

    def end(self) -> None:
        """End every thread but the calling one, which made this; time may go on with new ones."""
        self._over = True
        for thread, turn in list(self._threads.items()):
            turn.gate.release()
            thread.join()
        self._turns.clear()
        self._over = False

    def _next(self) -> _Turn:
        while self._turns:
            at_s, _, turn = heapq.heappop(self._turns)
            if at_s == turn.at_s and at_s < math.inf:  # else it was woken before
                turn.at_s = -math.inf
                self._now_s = max(self._now_s, at_s)
                return turn
        raise RuntimeError("every thread waits for another")


class VirtualCondition:
    """In place of a `threading.Condition`: whoever has the turn has the lock."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._waiting: deque[_Turn] = deque()

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, *_error: object) -> None:
        """Nothing to do."""

    def wait(self, timeout: float | None = None) -> None:
        """Until notified, or so long."""
        turn = self._time.turn(math.inf if timeout is None else timeout)
        self._waiting.append(turn)
        try:
            self._time.wait(turn)
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Until it holds, or so long."""
        until_s = math.inf if timeout is None else self._time.monotonic() + timeout
        while not predicate() and self._time.monotonic() < until_s:
            self.wait(until_s - self._time.monotonic())
        return predicate()

    def notify(self) -> None:
        """Wake the one that has waited longest."""
        if self._waiting:
            self._time.wake(self._waiting.popleft())

    def notify_all(self) -> None:
        """Wake all who wait."""
        while self._waiting:
            self.notify()


class VirtualEvent:
    """In place of a `threading.Event`."""

    def __init__(self, time: VirtualTime) -> None:
        self._changed = VirtualCondition(time)
        self._set = False

    def set(self) -> None:
        """Wake all who wait."""
        self._set = True
        self._changed.notify_all()

    def clear(self) -> None:
        """Wait again from now on."""
        self._set = False

    def wait(self) -> None:
        """Until it is set."""
        self._changed.wait_for(lambda: self._set)


class VirtualThread:
    """In place of a `threading.Thread` that nobody joins."""

    def __init__(self, time: VirtualTime, job: Callable[..., None], arguments: tuple[Any, ...]):
        self._time = time
        self._job = lambda: job(*arguments)

    def start(self) -> None:
        """Run the job, soon."""
        self._time.spawn(self._job)


class VirtualThreading:
    """In place of the module `threading`. Locks stay real: nobody waits while he holds one."""

    Lock = threading.Lock

    def __init__(self, time: VirtualTime) -> None:
        self._time = time

    def RLock(self) -> contextlib.AbstractContextManager[None]:  # noqa: N802  # threading's name
        """One that is free whenever a thread has its turn: its owner may wait meanwhile."""
        return contextlib.nullcontext()

    def Condition(self, _lock: object = None) -> VirtualCondition:  # noqa: N802  # threading's name
        """A new one."""
        return VirtualCondition(self._time)

    def Event(self) -> VirtualEvent:  # noqa: N802  # threading's name
        """A new one."""
        return VirtualEvent(self._time)

    def Thread(  # noqa: N802  # threading's name
        self, *, target: Callable[..., None], name: str, daemon: bool, args: tuple[Any, ...] = ()
    ) -> VirtualThread:
        """A new one."""
        del name, daemon
        return VirtualThread(self._time, target, args)


def virtual_future(time: VirtualTime) -> type[Future[T]]:
    """In place of `concurrent.futures.Future`: to wait for it lets others have their turns."""

    class VirtualFuture(Future[T]):
        def result(self, timeout: float | None = None) -> T:
            self._wait(timeout)
            return super().result(0)

        def exception(self, timeout: float | None = None) -> BaseException | None:
            self._wait(timeout)
            return super().exception(0)

        def _wait(self, timeout: float | None) -> None:
            until_s = math.inf if timeout is None else time.monotonic() + timeout
            while not self.done():
                if time.monotonic() >= until_s:
                    raise TimeoutError
                time.sleep(min(_LOOK_S, until_s - time.monotonic()))

    return VirtualFuture
