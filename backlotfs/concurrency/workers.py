# SPDX-License-Identifier: Apache-2.0
"""Worker threads that start when there is work and never keep a process from ending.

`concurrent.futures.ThreadPoolExecutor` joins its threads when the interpreter exits, and one that
waits on a stalled host would hold up an unmount; these are daemon threads.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from backlotfs.log import events

log = logging.getLogger(__name__)

#: A thread with nothing to do for this long ends.
IDLE_S = 20.0


class Workers:
    """A pool that starts a thread for a job if no thread is idle, up to a limit; jobs are FIFO.

    Any thread may call `submit`. The exception of a job is logged and dropped.
    """

    def __init__(self, limit: int, name: str) -> None:
        """``limit`` threads at most, named ``name-1`` …"""
        self._limit = limit
        self._name = name
        self._jobs: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._idle = 0
        self._threads = 0
        self._started = 0

    def submit(self, job: Callable[[], None], *, next_here: bool = False) -> None:
        """Run ``job`` on a thread of the pool, soon.

        :param next_here: the caller is a job of this pool that ends now. Its thread takes the next
            job, so no other thread has to be woken.
        """
        with self._wake:
            self._jobs.append(job)
            if next_here:
                return
            if len(self._jobs) <= self._idle:
                self._wake.notify()
                return
            if self._threads >= self._limit:
                return
            self._threads += 1
            self._started += 1
            name = f"{self._name}-{self._started}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:  # the system has no thread left: the job waits for one that runs
            with self._wake:
                self._threads -= 1
            events.NO_THREAD.log(log, pool=self._name)

    def _work(self) -> None:
        while True:
            with self._wake:
                if not self._jobs:
                    self._idle += 1
                    self._wake.wait_for(lambda: bool(self._jobs), IDLE_S)
                    self._idle -= 1
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception as error:  # noqa: BLE001  # the thread continues with the next job
                events.JOB_FAILED.log(log, pool=self._name, failure=error)
