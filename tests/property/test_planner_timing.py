"""Whole programs over a simulated line, in virtual time: near what the line could do at best."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.prefetch.planner import ReadPlanner, window_target
from backlotfs.source.bandwidth import HostStats
from tests.unit.open_files.virtual_reading import (
    BLOCK,
    GIB,
    KERNEL_READ,
    MIB,
    Program,
    SimulatedLine,
)

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
