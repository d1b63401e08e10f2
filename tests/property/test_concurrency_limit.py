"""The width finds what a line takes, on lines of every kind, and soon."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlotfs.fetch.hosts import (
    FAR_START_WIDTH,
    MAX_WIDTH,
    MIN_WIDTH,
    ConcurrencyController,
)
from tests.support.simulated_line import MB, MIB, Line, drive

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


@settings(max_examples=30)
@given(limit=st.integers(2, 30), latency_s=st.floats(0.005, 0.1))
def test_any_refusing_host(limit: int, latency_s: float) -> None:
    """Refusals are few, and the width ends below what is refused."""
    line = Line(latency_s, 3 * latency_s, 60 * MB, refuses_beyond=limit)
    run = drive(line, ConcurrencyController(), until_s=40)
    assert run.median_width(20) <= limit
    assert run.refusals <= 40 + 0.02 * run.gets
    assert math.isfinite(run.bytes_per_s)
