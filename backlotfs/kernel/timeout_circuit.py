"""Spares a process that walks the tree from waiting out one deadline for each file.

A file manager or a scanner that stats ten thousand files of unknown size, while the API is slow or
down, would wait for a deadline ten thousand times, and look frozen. After a few such waits in a row
every further one fails at once, until the process has left us alone for a while.
"""

from __future__ import annotations

import threading

from cachetools import TTLCache

from backlotfs.concurrency.clock import Clock
from backlotfs.errors import FastFail

#: Processes remembered; beyond it the least recently unlucky is forgotten.
_PROCESSES = 1024


class TimeoutCircuit:
    """Timeouts in a row, by process. Any thread may call; no call blocks.

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
        """To be asked before a wait on the network; returns when the process may wait.

        :raises FastFail: when its last waits all timed out, and not long ago.
        """
        with self._lock:
            timeouts = self._timeouts.get(pid, 0)
        if timeouts >= self._strikes:
            raise FastFail(
                f"process {pid} has met {timeouts} timeouts in a row: not waiting again so soon"
            )

    def timed_out(self, pid: int) -> None:
        """A wait of this process ended at its deadline."""
        if pid <= 0:
            return
        with self._lock:
            self._timeouts[pid] = self._timeouts.get(pid, 0) + 1

    def answered(self, pid: int) -> None:
        """A wait of this process was answered, by a result or by any error but a timeout.

        Not for what was known without a wait: half of a folder being known says nothing about
        the other half, and the count would never get anywhere.
        """
        with self._lock:
            self._timeouts.pop(pid, None)
