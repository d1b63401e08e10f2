"""Which transfer runs next: lanes per source, readers before read-ahead.

Each source has a lane with `PER_SOURCE` places, and `URGENT_EXTRA` more for transfers that a reader
waits for, so neither a stalled source nor a burst of read-ahead keeps another source's readers, or
its own, from being served. Beyond that the workers' limit bounds the whole process.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from backlotfs.workers import Workers

#: Transfers of one source at a time: at 4 MiB and 30 ms each this carries about 700 MB/s.
PER_SOURCE = 12
#: Places beyond that for what a reader waits for.
URGENT_EXTRA = 8


class Transfer(Protocol):
    """One GET to be made."""

    @property
    def embed_code(self) -> str:
        """Whose lane it takes."""

    def run(self) -> None:
        """Make it, on a worker's thread; raises nothing."""


class _Lane:
    __slots__ = ("ahead", "running", "urgent")

    def __init__(self) -> None:
        self.urgent: deque[Transfer] = deque()
        self.ahead: deque[Transfer] = deque()
        self.running = 0


class FetchQueue:
    """Starts transfers on the workers, in order of need. Any thread may submit."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}

    def submit(self, transfer: Transfer, *, urgent: bool) -> None:
        """Run ``transfer`` when its lane has a place."""
        with self._lock:
            lane = self._lanes.setdefault(transfer.embed_code, _Lane())
            (lane.urgent if urgent else lane.ahead).append(transfer)
            jobs = self._due(transfer.embed_code, lane)
        for job in jobs:
            self._workers.submit(job)

    def promote(self, transfer: Transfer) -> None:
        """A reader has come to wait for it: move it before all read-ahead, if it has not begun."""
        with self._lock:
            lane = self._lanes.get(transfer.embed_code)
            if lane is None or transfer not in lane.ahead:
                return
            lane.ahead.remove(transfer)
            lane.urgent.append(transfer)
            jobs = self._due(transfer.embed_code, lane)
        for job in jobs:
            self._workers.submit(job)

    def _due(self, embed_code: str, lane: _Lane) -> list[Callable[[], None]]:
        """Take what may start now; call with the lock held."""
        jobs: list[Callable[[], None]] = []
        while True:
            if lane.urgent and lane.running < PER_SOURCE + URGENT_EXTRA:
                transfer = lane.urgent.popleft()
            elif lane.ahead and lane.running < PER_SOURCE:
                transfer = lane.ahead.popleft()
            else:
                break
            lane.running += 1
            jobs.append(lambda transfer=transfer: self._run(transfer))  # type: ignore[misc]  # bound now
        if not lane.running:
            del self._lanes[embed_code]
        return jobs

    def _run(self, transfer: Transfer) -> None:
        try:
            transfer.run()
        finally:
            with self._lock:
                lane = self._lanes[transfer.embed_code]
                lane.running -= 1
                jobs = self._due(transfer.embed_code, lane)
            for job in jobs:
                self._workers.submit(job)
