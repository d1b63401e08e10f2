"""Limits of time that follow from one setting."""

from __future__ import annotations

import pytest

from backlotfs.config.time_limits import (
    API_TIMEOUT_S,
    LEAST_API_TIMEOUT_S,
    TimeLimits,
    parse_duration_s,
)


@pytest.mark.parametrize("answer_s", [LEAST_API_TIMEOUT_S, 3.0, API_TIMEOUT_S, 26.0, 60.0, 3600.0])
def test_inner_limits_are_below_outer_ones(answer_s: float) -> None:
    """Whatever the API is given, what stands around it is longer."""
    nested = TimeLimits(answer_s).nested()
    assert {inner for inner, *_ in nested} == {"connect", "answer"}
    for inner, inner_s, outer, outer_s in nested:
        assert 0 < inner_s < outer_s, f"{inner} within {outer}"


def test_raising_it_raises_the_others() -> None:
    """And no limit gets shorter by it."""
    before = TimeLimits(LEAST_API_TIMEOUT_S)
    for answer_s in (10.0, API_TIMEOUT_S, 60.0, 600.0):
        now = TimeLimits(answer_s)
        for name in ("connect_s", "first_call_s", "probe_s", "captions_s", "read_s", "stat_s"):
            assert getattr(now, name) >= getattr(before, name)
        before = now
    assert before.stat_s > 600.0
    assert TimeLimits().stat_s == 5.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), ("1.5m", 90.0), (" 500 ms ", 0.5), ("2h", 7200.0), ("1D", 86400.0)],
)
def test_durations(text: str, seconds: float) -> None:
    """As people write them."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 week", "1e3", "٣s", "inf"])
def test_no_durations(text: str) -> None:
    """Other text is none."""
    assert parse_duration_s(text) is None
