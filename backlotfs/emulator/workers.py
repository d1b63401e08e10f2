# SPDX-License-Identifier: Apache-2.0
"""Threads for functions that wait for a disk or take long, so that the event loop does not wait.

It is not a ``concurrent.futures.ThreadPoolExecutor``: the interpreter waits for the threads of such
an executor when it ends. A thread that hangs in the kernel, as on a network file system that does
not answer, would stop the program from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")

_STOP_S = 1.0  # the longest wait for the threads to end


class TooManyWaiting(Exception):
    """More calls wait for a thread than the pool allows."""


class WorkerPool:
    """Runs functions in daemon threads, for coroutines of one event loop."""

    def __init__(self, name: str, *, threads: int, most_waiting: int) -> None:
        """Start no thread yet.

        :param threads: most threads.
        :param most_waiting: most calls that wait for a thread.
        """
        self._name = name
        self._most_threads = threads
        self._most_waiting = most_waiting
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call ``function(*arguments)`` in a thread; its exceptions are raised here.

        If the caller is cancelled, the function still runs to its end, and its result is closed if
        it has a ``close`` method.

        :raises TooManyWaiting: too many calls wait for a thread.
        """
        if self._calls.qsize() >= self._most_waiting:
            raise TooManyWaiting
        if len(self._threads) < self._most_threads:
            self._start_thread()
        future: Future[Result] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 the caller gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        self._calls.put(call)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(_close_result)
            raise

    def stop(self) -> None:
        """End the threads; wait at most a second, because a thread may hang."""
        for _ in self._threads:
            self._calls.put(None)
        deadline = time.monotonic() + _STOP_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads.clear()

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system allows no more threads; use those that are running
            if not self._threads:
                raise TooManyWaiting from None
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _close_result(future: Future[Any]) -> None:
    if not future.cancelled() and future.exception() is None:
        close = getattr(future.result(), "close", None)
        if close is not None:
            close()
