# SPDX-License-Identifier: Apache-2.0
"""What a line needs, and how windows share the memory, for any figures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.prefetch.planner import (
    MAX_IN_FLIGHT,
    MAX_REQUEST_BYTES,
    MIN_GROWN_REQUEST_BYTES,
    paced_window,
    power_of_two,
    window_target,
)
from backlotfs.prefetch.registry import fair_cap
from backlotfs.source.bandwidth import HostStats

figures = st.builds(
    HostStats,
    st.floats(0.00001, 5),
    st.floats(1e3, 1e10),
    st.floats(0, 1e11),
)


@given(needs=st.lists(st.integers(0, 1 << 30), max_size=70), budget=st.integers(0, 1 << 31))
def test_shares_stay_within_the_budget_and_use_it(needs: list[int], budget: int) -> None:
    """And nobody is cut while there is room for what all need."""
    cap = fair_cap(needs, budget)
    given_out = sum(min(need, cap) for need in needs)
    assert given_out <= budget
    if sum(needs) <= budget:
        assert all(need <= cap for need in needs)
    else:
        assert budget - given_out < len(needs)


@given(line=figures, factor=st.floats(1, 1000))
def test_a_better_line_needs_no_less(line: HostStats, factor: float) -> None:
    """More throughput: more in flight; and within limits, whatever the figures."""
    need = window_target(line)
    more = window_target(line._replace(total_bytes_per_s=line.total_bytes_per_s * factor))
    assert more.window_bytes >= need.window_bytes
    assert MIN_GROWN_REQUEST_BYTES <= need.request_bytes <= MAX_REQUEST_BYTES
    assert need.window_bytes <= (MAX_IN_FLIGHT + 1) * need.request_bytes
    assert power_of_two(need.request_bytes) == need.request_bytes


@given(line=figures)
def test_a_window_carries_more_than_the_line_did(line: HostStats) -> None:
    """Otherwise what was achieved at first would be all that is ever tried."""
    need = window_target(line)
    takes = line.latency_s + need.request_bytes / line.connection_bytes_per_s
    in_flight = need.window_bytes // need.request_bytes - 1
    carried = in_flight * need.request_bytes / takes
    assert carried >= 1.5 * line.total_bytes_per_s or in_flight == MAX_IN_FLIGHT


@given(rate=st.floats(0, 1e10), latency=st.floats(0, 10))
def test_a_pace_is_covered_for_a_hiccup(rate: float, latency: float) -> None:
    """At least half a second and a round trip of it."""
    assert paced_window(rate, latency) + 1 >= rate * (0.5 + latency)
