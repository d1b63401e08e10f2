# SPDX-License-Identifier: Apache-2.0
"""One call at a time per key: callers that come while a call runs get its result or its error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class SingleFlight(Generic[K, T]):
    """Shares a running call among all callers with the same key; remembers nothing afterwards.

    Threads: any. The lock is never held while a call runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[K, Future[T]] = {}

    def join(self, key: K) -> tuple[Future[T], bool]:
        """The future of ``key`` and whether the caller has to `fly` it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Future()
            return flight, True

    def fly(self, key: K, call: Callable[[], T]) -> None:
        """Run ``call`` after `join` returned True; all waiters get its result or error."""
        with self._lock:
            flight = self._flights[key]
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  # every waiter gets the error
            self._land(key)
            flight.set_exception(error)
        else:
            self._land(key)
            flight.set_result(result)

    def run(self, key: K, call: Callable[[], T], *, timeout_s: float | None = None) -> T:
        """Run ``call``, or wait for the call that runs already.

        :raises TimeoutError: the call of another caller takes longer than ``timeout_s``.
        """
        flight, ours = self.join(key)
        if ours:
            self.fly(key, call)
        return flight.result(timeout_s)

    def _land(self, key: K) -> None:
        with self._lock:
            del self._flights[key]
