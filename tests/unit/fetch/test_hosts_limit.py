# SPDX-License-Identifier: Apache-2.0
"""The width, step by step."""

from __future__ import annotations

import pytest

from backlotfs.fetch.hosts import (
    BLIND_START_WIDTH,
    CEILING_S,
    FAR_START_WIDTH,
    MIN_WIDTH,
    URGENT_EXTRA,
    ConcurrencyController,
)
from backlotfs.source.signed_get import GetRecord, Outcome

MB = 1_000_000


class Gets:
    """GETs against a controller, all of the same second."""

    def __init__(self) -> None:
        self.controller = ConcurrencyController()
        self.now_s = 100.0

    def round(
        self,
        count: int,
        *,
        outcome: Outcome = Outcome.WHOLE,
        seconds: float = 1.0,
        size: int = 10 * MB,
    ) -> float | None:
        """``count`` GETs that begin together and end together; what the last one completed."""
        started_s = self.now_s
        for _ in range(count):
            self.controller.began(started_s)
        self.now_s += seconds
        told = None
        for _ in range(count):
            record = GetRecord("h", "E", False, started_s, 0.1, seconds, size, outcome)
            told = self.controller.ended(record, self.now_s)
        return told


@pytest.mark.parametrize(
    ("first_byte_s", "width"), [(0.0005, 4), (0.005, 8), (0.03, FAR_START_WIDTH)]
)
def test_the_start_fits_the_latency(first_byte_s: float, width: int) -> None:
    """Near hosts get few connections, and what was measured is not forgotten for it."""
    gets = Gets()
    assert gets.controller.width == BLIND_START_WIDTH
    gets.controller.start_for(first_byte_s, gets.now_s)
    assert gets.controller.width == width
    gets.round(width)
    grown = gets.controller.width
    gets.controller.start_for(0.005, gets.now_s)
    assert gets.controller.width == grown > width


def test_a_round_tells_the_throughput() -> None:
    """Eight GETs of 10 MB in a second: 80 MB/s."""
    gets = Gets()
    assert gets.round(8) == pytest.approx(80 * MB)


def test_growth_that_brings_nothing_is_taken_back() -> None:
    """Twice the width, the same throughput."""
    gets = Gets()
    gets.round(8)
    assert gets.controller.width == 16
    gets.round(16, size=5 * MB)
    assert gets.controller.width == 8


def test_growth_that_brings_something_goes_on() -> None:
    """Up to the most there may be."""
    gets = Gets()
    for width in (8, 16, 32, 32):
        assert gets.controller.width == width
        gets.round(width)
    assert gets.controller.width == 32


def test_trials_that_fail_become_rare() -> None:
    """On a line that is understood, the width is seldom moved."""
    gets = Gets()
    moves: list[int] = []
    for number in range(300):
        before = gets.controller.width
        gets.round(before, size=80 * MB // max(before, 8))  # eight are needed, and enough
        if gets.controller.width != before:
            moves.append(number)
    assert sum(move < 100 for move in moves) > 0
    assert sum(move >= 200 for move in moves) <= 6


def test_a_refusal_cuts_once() -> None:
    """All the GETs that are refused together were one load."""
    gets = Gets()
    gets.controller.start_for(0.03, gets.now_s)
    gets.round(FAR_START_WIDTH, outcome=Outcome.OVERLOADED)
    assert gets.controller.width == FAR_START_WIDTH * 3 // 4


def test_refusals_on_and_on() -> None:
    """The width ends at its least, never below."""
    gets = Gets()
    for _ in range(12):
        gets.round(gets.controller.width, outcome=Outcome.OVERLOADED)
    assert gets.controller.width == MIN_WIDTH


def test_a_refusal_of_more_than_the_width() -> None:
    """Readers exceeded the width: it is not reduced below what may have been too many."""
    gets = Gets()
    gets.controller.start_for(0.03, gets.now_s)
    assert gets.controller.urgent_extra(gets.now_s) == URGENT_EXTRA
    gets.round(2 * FAR_START_WIDTH, outcome=Outcome.OVERLOADED)
    assert gets.controller.width == FAR_START_WIDTH
    assert gets.controller.urgent_extra(gets.now_s) == 0
    gets.round(FAR_START_WIDTH)
    assert gets.controller.urgent_extra(gets.now_s) == 0
    assert gets.controller.urgent_extra(gets.now_s + CEILING_S) == URGENT_EXTRA


def test_a_ceiling_is_lifted() -> None:
    """A host that was busy for a while is tried with more again, after a while."""
    gets = Gets()
    gets.round(8, outcome=Outcome.OVERLOADED)
    widths = []
    while gets.now_s < 100 + CEILING_S - 1:
        gets.round(gets.controller.width)
        widths.append(gets.controller.width)
    assert max(widths) == 7
    for _ in range(60):
        gets.round(gets.controller.width)
    assert gets.controller.width > 7


def test_single_cuts_are_no_refusal() -> None:
    """One connection in a round may break; many at once mean that they are too many."""
    gets = Gets()
    gets.round(1, outcome=Outcome.CUT)
    gets.round(1)
    assert gets.controller.width == BLIND_START_WIDTH
    gets.round(4, outcome=Outcome.CUT)
    assert gets.controller.width < BLIND_START_WIDTH


def test_readers_beyond_the_width_are_no_measure() -> None:
    """A round in which twice as many ran as the width allows says nothing of the width."""
    gets = Gets()
    for _ in range(3):
        gets.round(2 * BLIND_START_WIDTH)
        assert gets.controller.width == BLIND_START_WIDTH


def test_a_pause_does_not_dilute() -> None:
    """A copy that begins long after the last GET is measured by itself."""
    gets = Gets()
    gets.round(3)
    gets.now_s += 1000
    assert gets.round(8) == pytest.approx(80 * MB)
