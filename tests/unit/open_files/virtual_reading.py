"""A line of some latency and rate, a kernel, and readers, all in virtual time: for whole plans."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field

from backlotfs.byterange import ByteRange, block_span
from backlotfs.prefetch.planner import ReadPlanner

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BLOCK = 64 * KIB
#: What the kernel asks for at once while a program reads on.
KERNEL_READ = 128 * KIB


@dataclass(slots=True)
class _Get:
    """One request: queued, then on a connection from ``begun_s`` on."""

    wanted: ByteRange
    asked_s: float
    urgent: bool
    begun_s: float | None = None
    latency_s: float = 0.0


@dataclass
class SimulatedLine:
    """A source behind connections of a given latency and rate; what arrived is kept for ever.

    :ivar fetched_bytes: of all requests that were made.
    :ivar requests: how many those are.
    """

    planner: ReadPlanner
    latency_s: float = 0.03
    first_latency_s: float = 0.09
    bytes_per_s: float = 60e6
    connections: int = 12
    fetched_bytes: int = 0
    requests: int = 0
    _blocks: dict[int, _Get] = field(default_factory=dict)
    _urgent: deque[_Get] = field(default_factory=deque)
    _ahead: deque[_Get] = field(default_factory=deque)
    _free: list[tuple[float, int]] = field(default_factory=list)
    _used: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._free = [(0.0, number) for number in range(self.connections)]

    def read(self, read: ByteRange, now_s: float, reader: int = 0) -> list[_Get]:
        """What `SourceReader.begin` does; the requests that the read has to wait for."""
        self._run_until(now_s)
        absent = [block for block in block_span(read, BLOCK) if block not in self._blocks]
        for first, group in itertools.groupby(
            enumerate(absent), key=lambda place: place[1] - place[0]
        ):
            del first
            blocks = [block for _, block in group]
            self._ask(ByteRange(blocks[0] * BLOCK, (blocks[-1] + 1) * BLOCK), now_s, urgent=True)
        gets = [self._blocks[block] for block in block_span(read, BLOCK)]
        late = any(self._landed_s(get, read) > now_s for get in gets if get.begun_s is not None)
        late |= any(get.begun_s is None for get in gets)
        plan = self.planner.observe(
            read, missed=bool(absent), late=late, reader=reader, now_s=now_s
        )
        for request in plan.requests:
            fresh = [block for block in block_span(request, BLOCK) if block not in self._blocks]
            if fresh:
                self._ask(ByteRange(fresh[0] * BLOCK, (fresh[-1] + 1) * BLOCK), now_s, urgent=False)
        for get in gets:
            if get in self._ahead:  # somebody waits for it now
                self._ahead.remove(get)
                self._urgent.append(get)
        self._run_until(now_s)
        return gets

    def arrival_s(self, read: ByteRange, gets: list[_Get]) -> float:
        """When all of ``read`` is here."""
        while any(get.begun_s is None for get in gets):
            self._run_until(self._free[0][0])
        return max(self._landed_s(get, read) for get in gets)

    def _ask(self, wanted: ByteRange, now_s: float, *, urgent: bool) -> None:
        get = _Get(wanted, now_s, urgent)
        self._blocks.update(dict.fromkeys(block_span(wanted, BLOCK), get))
        (self._urgent if urgent else self._ahead).append(get)

    def _run_until(self, now_s: float) -> None:
        """Give connections to what was asked, in order of time."""
        while (self._urgent or self._ahead) and self._free[0][0] <= now_s:
            get = (self._urgent or self._ahead).popleft()
            free_s, number = heapq.heappop(self._free)
            begun_s = max(free_s, get.asked_s)
            if not get.urgent and not self.planner.wanted(get.wanted, begun_s):
                heapq.heappush(self._free, (free_s, number))
                for block in block_span(get.wanted, BLOCK):
                    del self._blocks[block]
                continue
            get.begun_s = begun_s
            get.latency_s = self.latency_s if number in self._used else self.first_latency_s
            self._used.add(number)
            self.fetched_bytes += get.wanted.length
            self.requests += 1
            takes = get.latency_s + get.wanted.length / self.bytes_per_s
            heapq.heappush(self._free, (begun_s + takes, number))

    def _landed_s(self, get: _Get, read: ByteRange) -> float:
        if get.begun_s is None:
            raise AssertionError("not begun")
        last = min(-(-read.stop // BLOCK) * BLOCK, get.wanted.stop) - get.wanted.start
        return get.begun_s + get.latency_s + last / self.bytes_per_s


@dataclass
class Program:
    """A program that reads stretches of a file, with the kernel's read-ahead of one request."""

    line: SimulatedLine
    reader: int = 0
    bytes_per_s: float = 800e6
    now_s: float = 0.0
    waited_s: float = 0.0

    def read(self, stretch: ByteRange) -> None:
        """All of it, in order."""
        cuts = range(stretch.start, stretch.stop, KERNEL_READ)
        reads = [ByteRange(at, min(at + KERNEL_READ, stretch.stop)) for at in cuts]
        begun = self.line.read(reads[0], self.now_s, self.reader)
        for index, read in enumerate(reads):
            arrival_s = self.line.arrival_s(read, begun)
            self.waited_s += max(0.0, arrival_s - self.now_s)
            self.now_s = max(self.now_s, arrival_s)
            if index + 1 < len(reads):
                begun = self.line.read(reads[index + 1], self.now_s, self.reader)
            self.now_s += read.length / self.bytes_per_s
