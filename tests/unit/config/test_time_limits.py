# SPDX-License-Identifier: Apache-2.0
"""Limits of time: one table, in which every inner limit is below its outer one."""

from __future__ import annotations

import itertools

import pytest

from backlotfs.config import time_limits
from backlotfs.config.time_limits import (
    API_TIMEOUT_S,
    LEAST_API_TIMEOUT_S,
    LEAST_READ_TIMEOUT_S,
    MOST_TIMEOUT_S,
    TimeLimits,
    parse_duration_s,
)

#: What the options take, from the least to the largest.
API = [LEAST_API_TIMEOUT_S, 3.0, API_TIMEOUT_S, 26.0, 60.0, 3600.0, MOST_TIMEOUT_S]
STAT = [None, 0.0, 5.0, 60.0, MOST_TIMEOUT_S]
READ = [None, LEAST_READ_TIMEOUT_S, 30.0, 60.0, MOST_TIMEOUT_S]


@pytest.mark.parametrize(("api_s", "stat_s", "read_s"), [*itertools.product(API, STAT, READ)])
def test_inner_limits_are_below_outer_ones(
    api_s: float, stat_s: float | None, read_s: float | None
) -> None:
    """Whatever the API, a stat and a read are given, what stands around a limit is longer."""
    for inner, inner_s, outer, outer_s in TimeLimits(api_s, stat_s, read_s).nested():
        assert 0 < inner_s < outer_s, f"{inner} within {outer}"


def test_no_limit_is_forgotten() -> None:
    """Each that the module names is in the table, and each that follows from an option."""
    settings = {"LEAST_API_TIMEOUT_S", "LEAST_READ_TIMEOUT_S", "MOST_TIMEOUT_S"}
    constants = {
        name: value
        for name, value in vars(time_limits).items()
        if name.isupper() and name.endswith("_S") and not name.startswith("_")
    }
    assert set(constants) > settings
    limits = TimeLimits()
    derived = {
        name: getattr(limits, name)
        for name, value in vars(TimeLimits).items()
        if isinstance(value, property)
    }
    rows = limits.nested()
    seconds = {row[1] for row in rows} | {row[3] for row in rows}
    for name, value in (constants | derived).items():
        assert name in settings or value in seconds, name


def test_raising_it_raises_the_others() -> None:
    """And no limit gets shorter by it."""
    before = TimeLimits(LEAST_API_TIMEOUT_S)
    for answer_s in (10.0, API_TIMEOUT_S, 60.0, 600.0):
        now = TimeLimits(answer_s)
        for name, value in vars(TimeLimits).items():
            if isinstance(value, property):
                assert getattr(now, name) >= getattr(before, name), name
        before = now
    assert before.stat_s > 600.0
    assert TimeLimits().stat_s == 5.0


def test_a_wait_that_was_asked_for_is_within_the_work_that_it_waits_for() -> None:
    """A short one shortens no work, because the next attempt uses its result."""
    assert TimeLimits(asked_stat_s=100.0).source_s == 100.0
    assert TimeLimits(asked_read_s=200.0).source_s == 200.0
    assert TimeLimits(asked_stat_s=0.1, asked_read_s=1.0).source_s == TimeLimits().source_s


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
