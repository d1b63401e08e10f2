"""Which transfer runs next: a lane per source, readers before read-ahead, lines used fully.

A *line* (a source host, see `source_lines`) takes as many transfers as its width says. They are
shared among the lanes on it: each may have its part of the width, at least one place, and what
others leave unused. Transfers that a reader waits for have `URGENT_EXTRA` places more in each lane
and go first. Where several lanes could go on, the one that was given the fewest bytes does.

A stalled source never stops another. A lane in which nothing has ended for `STILL_S` counts neither
against its line nor against the process, so the others have the line for themselves; and the last
quarter of the workers is for readers of sources that have no transfer under way at all.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, SystemClock
from backlotfs.concurrency.workers import Workers

#: Transfers of one source at a time where nobody measures.
PER_SOURCE = 12
#: Places in a lane beyond its part, for what a reader waits for.
URGENT_EXTRA = 8
#: Read-ahead of all sources together: more only costs memory and switches of threads.
PROCESS_WIDTH = 64
#: A lane in which nothing ended for so long is stalled, or so slow that it leaves room.
STILL_S = 2.0
#: How often stalled lanes are looked for, at most.
_LOOK_S = 0.25


class Transfer(Protocol):
    """One GET to be made."""

    @property
    def embed_code(self) -> str:
        """Whose lane it takes."""

    @property
    def missing(self) -> ByteRange:
        """What it is going to bring."""

    def run(self) -> None:
        """Make it, on a worker's thread; raises nothing."""


class LineWidth(Protocol):
    """A line; the same object for all sources that come over it."""

    @property
    def width(self) -> int:
        """How many transfers it takes at once; may change at any time."""


class Lines(Protocol):
    """Who knows the lines: `SourceLines`."""

    def line(self, embed_code: str) -> LineWidth:
        """The line of a source; may become another one once the source's host is known."""


class FixedWidth(NamedTuple):
    """Lines of which nothing is measured: one, for all sources."""

    width: int = PER_SOURCE

    def line(self, embed_code: str) -> LineWidth:  # noqa: ARG002  # as Lines
        """Itself."""
        return self


class _HostLoad:
    """What is under way on one line, stalled lanes left out."""

    __slots__ = ("lanes", "line", "running")

    def __init__(self, line: LineWidth) -> None:
        self.line = line
        self.lanes = 0
        self.running = 0


class _SourceQueue:
    __slots__ = ("ahead", "load", "moved_s", "running", "served", "still", "urgent")

    def __init__(self, load: _HostLoad, served: int) -> None:
        self.urgent: deque[Transfer] = deque()
        self.ahead: deque[Transfer] = deque()
        self.running = 0
        self.load = load
        self.served = served  # bytes, from a start that is fair to the other lanes
        self.moved_s = 0.0
        self.still = False

    @property
    def part(self) -> int:
        """Its places, if the others on the line take theirs."""
        return max(1, self.load.line.width // max(1, self.load.lanes))


class FetchScheduler:
    """Starts transfers on the workers, in order of need. Any thread may submit."""

    def __init__(
        self,
        workers: Workers,
        lines: Lines | None = None,
        clock: Clock | None = None,
        *,
        places: int = 192,
    ) -> None:
        """``places``: how many jobs the workers run at once, all of them ours.

        Without ``lines`` each line has `PER_SOURCE` as its width, and all sources are on one.
        """
        self._workers = workers
        self._lines = lines or FixedWidth()
        self._clock = clock or SystemClock()
        self._places = places
        self._lock = threading.Lock()
        self._lanes: dict[str, _SourceQueue] = {}
        self._waiting: dict[str, _SourceQueue] = {}  # those of them with a transfer that has not begun
        self._loads: dict[int, _HostLoad] = {}  # by the line's id
        self._running = 0
        self._moving = 0  # of those, in lanes that are not stalled
        self._served = 0  # of the lane that went last
        self._looked_s = 0.0

    def submit(self, transfer: Transfer, *, urgent: bool) -> None:
        """Run ``transfer`` when its lane has a place."""
        with self._lock:
            lane = self._lanes.get(transfer.embed_code)
            if lane is None:
                load = self._load(self._lines.line(transfer.embed_code))
                load.lanes += 1
                lane = self._lanes[transfer.embed_code] = _SourceQueue(load, self._served)
            elif transfer.embed_code not in self._waiting:
                lane.served = max(lane.served, self._served)  # no credit for a time of no need
            (lane.urgent if urgent else lane.ahead).append(transfer)
            self._waiting[transfer.embed_code] = lane
            jobs = self._due()
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
            jobs = self._due()
        for job in jobs:
            self._workers.submit(job)

    def _due(self) -> list[Callable[[], None]]:
        """Take what may start now; call with the lock held."""
        jobs: list[Callable[[], None]] = []
        now_s = self._clock.monotonic()
        if self._waiting and now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            for lane in self._lanes.values():
                if lane.running and not lane.still and now_s - lane.moved_s >= STILL_S:
                    self._count(lane, still=True)
        while (embed_code := self._next()) is not None:
            lane = self._waiting[embed_code]
            transfer = (lane.urgent or lane.ahead).popleft()
            if not lane.urgent and not lane.ahead:
                del self._waiting[embed_code]
            if not lane.running:
                lane.moved_s = now_s
            self._served = lane.served
            lane.served += transfer.missing.length
            self._add(lane, 1)
            jobs.append(lambda transfer=transfer: self._run(transfer))  # type: ignore[misc]  # bound now
        return jobs

    def _next(self) -> str | None:
        """The lane that goes on: where a reader waits, else any; of those the least served."""
        best: str | None = None
        rank = (True, 0)
        for embed_code, lane in self._waiting.items():
            ahead = not lane.urgent
            if (best is None or (ahead, lane.served) < rank) and self._has_place(lane):
                best, rank = embed_code, (ahead, lane.served)
        return best

    def _has_place(self, lane: _SourceQueue) -> bool:
        if lane.urgent and not lane.running:  # a source's first waits for no other source
            return True
        if self._running >= self._places * 3 // 4:
            return False
        if lane.urgent:
            return lane.running < lane.part + URGENT_EXTRA
        if lane.running and self._moving >= PROCESS_WIDTH:
            return False
        spare = not lane.still and lane.load.running < lane.load.line.width
        return lane.running < lane.part or spare

    def _run(self, transfer: Transfer) -> None:
        try:
            transfer.run()
        finally:
            with self._lock:
                self._ended(transfer.embed_code)
                jobs = self._due()
            for job in jobs:
                self._workers.submit(job)

    def _ended(self, embed_code: str) -> None:
        """Free a place in its lane, which is seen to move."""
        lane = self._lanes[embed_code]
        if lane.still:
            self._count(lane, still=False)
        self._add(lane, -1)
        lane.moved_s = self._clock.monotonic()
        line = self._lines.line(embed_code)
        if line is not lane.load.line:  # its host has answered, and is another
            self._leave(lane)
            lane.load = self._load(line)
            lane.load.lanes += 1
            lane.load.running += lane.running
        if not lane.running and embed_code not in self._waiting:
            self._leave(lane)
            del self._lanes[embed_code]

    def _add(self, lane: _SourceQueue, count: int) -> None:
        lane.running += count
        self._running += count
        if not lane.still:
            lane.load.running += count
            self._moving += count

    def _count(self, lane: _SourceQueue, *, still: bool) -> None:
        """Count it as stalled, or as moving again."""
        sign = -1 if still else 1
        lane.still = still
        lane.load.lanes += sign
        lane.load.running += sign * lane.running
        self._moving += sign * lane.running

    def _load(self, line: LineWidth) -> _HostLoad:
        return self._loads.setdefault(id(line), _HostLoad(line))

    def _leave(self, lane: _SourceQueue) -> None:
        """Take a lane that is not stalled off its line; a line without lanes is forgotten."""
        load = lane.load
        load.lanes -= 1
        load.running -= lane.running
        if not any(other.load is load for other in self._lanes.values() if other is not lane):
            self._loads.pop(id(load.line), None)
