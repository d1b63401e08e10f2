# SPDX-License-Identifier: Apache-2.0
"""The width finds what a line takes, on lines of every kind, and soon."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlotfs.fetch.hosts import (
    FAR_START_WIDTH,
    MAX_WIDTH,
    MIN_WIDTH,
    ConcurrencyController,
)
from backlotfs.source.signed_get import GetRecord, Outcome
from tests.support.long_runs import runs

MB = 1_000_000
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """What a host and the way to it are like; rates in bytes/s.

    :ivar total: what all connections share, by their number: a cap, or the strength of two cores.
    :ivar refuses_beyond: connections at once beyond which it answers 503.
    :ivar jitter: by which part latencies differ from each other.
    """

    latency_s: float
    new_latency_s: float
    per_connection: float
    total: Callable[[int], float] = lambda _count: math.inf
    refuses_beyond: int = 10_000
    jitter: float = 0.3


@dataclass(slots=True)
class _Get:
    started_s: float
    flows_at_s: float
    left_bytes: float
    refused: bool
    new: bool


@dataclass(slots=True)
class Run:
    """What came of it. ``widths``: (virtual time, width) at each change."""

    seconds: float = 0.0
    received_bytes: int = 0
    gets: int = 0
    refusals: int = 0
    widths: list[tuple[float, int]] = field(default_factory=list)

    @property
    def bytes_per_s(self) -> float:
        """Throughput over the whole run."""
        return self.received_bytes / self.seconds

    def median_width(self, since_s: float) -> int:
        """The width that was exceeded half of the time after ``since_s``."""
        spans = zip(self.widths, [*self.widths[1:], (self.seconds, 0)], strict=True)
        weights = sorted(
            (width, max(0.0, end - max(since_s, at))) for (at, width), (end, _) in spans
        )
        half, passed = sum(weight for _, weight in weights) / 2, 0.0
        for width, weight in weights:
            passed += weight
            if passed >= half:
                return width
        raise AssertionError("the run was over by then")


def drive(
    line: Line,
    controller: ConcurrencyController,
    *,
    request_bytes: int = 4 * MIB,
    until_bytes: float = math.inf,
    until_s: float = math.inf,
    wanted: int = 10_000,
) -> Run:
    """Keep as many GETs under way as the controller allows, ``wanted`` at most."""
    dice = random.Random(4)
    run = Run(widths=[(0.0, controller.width)])
    now, under_way, idle = 0.0, list[_Get](), 0
    while run.received_bytes < until_bytes and now < until_s:
        while len(under_way) < min(controller.width, wanted):
            new, idle = idle == 0, max(0, idle - 1)
            latency_s = line.new_latency_s if new else line.latency_s
            latency_s *= 1 + line.jitter * (2 * dice.random() - 1)
            refused = len(under_way) >= line.refuses_beyond
            under_way.append(
                _Get(now, now + latency_s, 0 if refused else request_bytes, refused, new)
            )
            controller.began(now)
        flowing = [get for get in under_way if get.flows_at_s <= now + 1e-12]
        rate = 0.0
        if flowing:
            rate = min(line.per_connection, line.total(len(flowing)) / len(flowing))
        waits = [get.flows_at_s - now for get in under_way if get.flows_at_s > now + 1e-12]
        waits += [get.left_bytes / rate for get in flowing]
        step = min(waits)
        now += step
        for get in flowing:
            get.left_bytes -= rate * step
        for get in [get for get in flowing if get.left_bytes < 1]:
            under_way.remove(get)
            idle += 1
            size = 0 if get.refused else request_bytes
            outcome = Outcome.OVERLOADED if get.refused else Outcome.WHOLE
            first_s = get.flows_at_s - get.started_s
            record = GetRecord(
                "h", "E", get.new, get.started_s, first_s, now - get.started_s, size, outcome
            )
            controller.start_for(first_s, now)
            controller.ended(record, now)
            run.gets += 1
            run.refusals += get.refused
            run.received_bytes += size
            if controller.width != run.widths[-1][1]:
                run.widths.append((now, controller.width))
    run.seconds = now
    return run


GIB = 1024 * MIB


def two_cores(count: int) -> float:
    """What loopback gives two cores: best at three or four connections."""
    return 900 * MB * min(1.0, count / 2.5) / (1 + 0.02 * max(0, count - 4))


REMOTE = Line(0.03, 0.09, 60 * MB)
LOOPBACK = Line(0.0003, 0.001, 2000 * MB, two_cores)


def test_one_gibibyte_from_afar() -> None:
    """30 ms, 60 MB/s a connection: fast within the two seconds that a copy takes."""
    run = drive(REMOTE, ConcurrencyController(), until_bytes=GIB)
    assert run.bytes_per_s >= 700 * MB
    assert next(at for at, width in run.widths if width >= 16) <= 0.5


def test_from_afar_by_two_cores() -> None:
    """Where the processor is the limit, growing beyond it costs little and is taken back."""
    line = Line(0.03, 0.09, 60 * MB, lambda count: 800 * MB / (1 + 0.01 * max(0, count - 12)))
    run = drive(line, ConcurrencyController(), until_s=20)
    assert run.bytes_per_s >= 500 * MB
    assert 10 <= run.median_width(10) <= 24


def test_loopback_stays_narrow() -> None:
    """Two cores are not asked to serve a dozen connections, and lose nothing by it."""
    run = drive(LOOPBACK, ConcurrencyController(), until_bytes=4 * GIB)
    assert run.bytes_per_s >= 0.93 * two_cores(4)
    assert 3 <= run.median_width(0.2) <= 5


def test_a_shared_cap() -> None:
    """100 MB/s for all together: most of it is used, and not by all connections there may be."""
    line = Line(0.03, 0.09, 60 * MB, lambda _count: 100 * MB)
    run = drive(line, ConcurrencyController(), until_s=60)
    assert run.bytes_per_s >= 90 * MB
    assert run.median_width(30) <= MAX_WIDTH // 2


def test_a_cap_per_connection() -> None:
    """10 MB/s each, whatever the number: as many as there may be."""
    run = drive(Line(0.03, 0.09, 10 * MB), ConcurrencyController(), until_s=10)
    assert run.median_width(3) == MAX_WIDTH


def test_a_host_that_refuses() -> None:
    """503 beyond eight: eight are used, and it is rarely asked for more."""
    run = drive(Line(0.03, 0.09, 60 * MB, refuses_beyond=8), ConcurrencyController(), until_s=60)
    assert 6 <= run.median_width(5) <= 8
    assert run.refusals <= 0.01 * run.gets
    assert run.bytes_per_s >= 250 * MB


@pytest.mark.parametrize("wanted", [1, 3])
def test_who_asks_for_little_moves_nothing(wanted: int) -> None:
    """A player that is content is no reason to think that the line takes no more, or more."""
    controller = ConcurrencyController()
    run = drive(REMOTE, controller, until_s=10, wanted=wanted)
    assert [width for _, width in run.widths] == [
        8,
        FAR_START_WIDTH,
    ]  # what fits the latency, then nothing


class FixedWidth(ConcurrencyController):
    """Learns nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._fixed = width

    @property
    def width(self) -> int:
        """As it was given."""
        return self._fixed


@settings(max_examples=20)
@given(
    latency_s=st.floats(0.0002, 0.2),
    per_connection=st.floats(2 * MB, 500 * MB),
    total=st.floats(20 * MB, 2000 * MB),
    request_bytes=st.sampled_from([MIB, 4 * MIB, 8 * MIB]),
)
def test_near_the_best_on_any_line(
    latency_s: float, per_connection: float, total: float, request_bytes: int
) -> None:
    """Two thirds, learning included, of what the best of some fixed widths brings."""
    line = Line(latency_s, 3 * latency_s, per_connection, lambda _count: total)

    def rate(controller: ConcurrencyController) -> float:
        run = drive(line, controller, request_bytes=request_bytes, until_bytes=900 * request_bytes)
        assert all(MIN_WIDTH <= width <= MAX_WIDTH for _, width in run.widths)
        return run.bytes_per_s

    best = max(rate(FixedWidth(width)) for width in (4, 12, MAX_WIDTH))
    assert rate(ConcurrencyController()) >= 0.65 * best


@settings(max_examples=runs(30))
@given(limit=st.integers(2, 30), latency_s=st.floats(0.005, 0.1))
def test_any_refusing_host(limit: int, latency_s: float) -> None:
    """Refusals are few, and the width ends below what is refused."""
    line = Line(latency_s, 3 * latency_s, 60 * MB, refuses_beyond=limit)
    run = drive(line, ConcurrencyController(), until_s=40)
    assert run.median_width(20) <= limit
    assert run.refusals <= 40 + 0.02 * run.gets
    assert math.isfinite(run.bytes_per_s)
