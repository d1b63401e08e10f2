# SPDX-License-Identifier: Apache-2.0
"""Whole programs over a simulated line, in virtual time: near what the line could do at best."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange, block_span
from backlotfs.prefetch.planner import ReadPlanner, window_target
from backlotfs.source.bandwidth import HostStats

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


#: The remote profile of the benchmarks, with as many connections as carry it.
REMOTE = HostStats(0.03, 60e6, 560e6)
SIZE = 20 * GIB


def remote(size: int = SIZE, connections: int = 16) -> SimulatedLine:
    """A large file far away."""
    planner = ReadPlanner(size, max_window_bytes=64 * MIB, block_bytes=BLOCK)
    planner.target, planner.latency_s = window_target(REMOTE), REMOTE.latency_s
    return SimulatedLine(planner, connections=connections)


def bytes_per_s(line: SimulatedLine, stretches: list[ByteRange]) -> float:
    """At which a program gets these, and how much was fetched."""
    program = Program(line)
    for stretch in stretches:
        program.read(stretch)
    return sum(stretch.length for stretch in stretches) / program.now_s


def stretches(count: int, run: int, period: int, base: int = 0) -> list[ByteRange]:
    """``run`` bytes every ``period``."""
    return [ByteRange(base + at * period, base + at * period + run) for at in range(count)]


def sequential_rate() -> float:
    """Of 1 GiB on the remote line."""
    return bytes_per_s(remote(), [ByteRange(0, GIB)])


def test_sequential_reading_uses_the_line() -> None:
    """1 GiB, cold, from new connections: at 550 MB/s and more, little fetched beyond."""
    line = remote()
    assert bytes_per_s(line, [ByteRange(0, GIB)]) >= 550e6
    assert line.fetched_bytes <= GIB + 80 * MIB


def test_a_file_is_fetched_once_and_in_few_requests() -> None:
    """To its end, which ends all read-ahead."""
    line = remote(GIB)
    bytes_per_s(line, [ByteRange(0, GIB)])
    assert line.fetched_bytes == GIB
    assert line.requests <= 320


@pytest.mark.parametrize(
    ("run", "skip", "share"),
    [(4 * MIB, MIB, 0.85), (16 * MIB, 16 * MIB, 0.6), (MIB, 64 * 1024, 0.85)],
)
def test_skipping_reads_nearly_as_fast(run: int, skip: int, share: float) -> None:
    """In bytes that the program gets, the kernel's overshoot of one request included."""
    # What is skipped but too short to be left out goes over the line all the same.
    found = bytes_per_s(remote(), stretches(800 * MIB // run, run + KERNEL_READ // 2, run + skip))
    assert found >= share * sequential_rate()


def test_large_skips_are_not_fetched() -> None:
    """As much read as skipped: little more is fetched than read."""
    line = remote()
    bytes_per_s(line, stretches(400, MIB, 2 * MIB))
    assert line.fetched_bytes <= 1.15 * 400 * MIB


def test_two_places_in_turn_are_two_streams() -> None:
    """1 MiB here, 1 MiB 3 GB on, through one handle."""
    turns = [
        part
        for pair in zip(stretches(400, MIB, MIB), stretches(400, MIB, MIB, 3 * GIB), strict=True)
        for part in pair
    ]
    assert bytes_per_s(remote(), turns) >= 0.75 * sequential_rate()


@pytest.mark.parametrize(
    ("length", "most"), [(4096, 16.5), (65536, 2.0), (MIB, 1.5), (4 * MIB, 1.6)]
)
def test_random_reads_fetch_little(length: int, most: float) -> None:
    """Beyond what they ask for, in whole blocks of 64 KiB."""
    dice = random.Random(7)
    line = remote()
    starts = [dice.randrange(0, SIZE - length) // 4096 * 4096 for _ in range(200)]
    bytes_per_s(line, [ByteRange(start, start + length) for start in starts])
    assert line.fetched_bytes <= most * 200 * length


def test_a_player_that_seeks_waits_for_round_trips_only() -> None:
    """25 MB/s, a seek every 10 s: a few latencies each, and no more fetched than is played."""
    line = remote()
    program = Program(line, bytes_per_s=25e6)
    for place in range(1, 6):
        program.read(ByteRange(place * 2 * GIB, place * 2 * GIB + 250 * MIB))
    assert program.waited_s <= 5 * 4 * line.first_latency_s
    assert line.fetched_bytes <= 1.15 * 5 * 250 * MIB


@settings(max_examples=20)
@given(
    latency_ms=st.sampled_from([0.3, 5, 30, 100]),
    rate=st.sampled_from([10e6, 60e6, 400e6]),
    connections=st.integers(4, 16),
)
def test_any_line_is_used_within_the_memory(
    latency_ms: float, rate: float, connections: int
) -> None:
    """After the first second: at 70 % of what so many connections and 64 MiB could carry."""
    latency_s = latency_ms / 1000
    planner = ReadPlanner(SIZE, max_window_bytes=64 * MIB, block_bytes=BLOCK)
    figures = HostStats(latency_s, rate, connections * rate)
    planner.target = need = window_target(figures)
    line = SimulatedLine(planner, latency_s, 3 * latency_s, rate, connections)
    program = Program(line, bytes_per_s=5e9)
    begun = GIB // 4
    program.read(ByteRange(0, begun))
    before_s = program.now_s
    program.read(ByteRange(begun, 2 * begun))
    usable = min(connections, 64 * MIB // need.request_bytes - 1)
    best = usable * need.request_bytes / (latency_s + need.request_bytes / rate)
    assert begun / (program.now_s - before_s) >= 0.7 * min(best, 5e9)
