# SPDX-License-Identifier: Apache-2.0
"""What GETs teach about a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.fetch.hosts import SAMPLES_KEPT, TOTAL_HALF_LIFE_S, Host
from backlotfs.source.bandwidth import HostStats
from backlotfs.source.signed_get import GetRecord, Outcome

MB = 1_000_000


def get(
    first_byte_s: float | None = 0.03,
    *,
    seconds: float = 0.13,
    size: int = 6 * MB,
    new: bool = False,
    outcome: Outcome = Outcome.WHOLE,
) -> GetRecord:
    """One GET."""
    return GetRecord("h", "E", new, 0.0, first_byte_s, seconds, size, outcome)


def test_nothing_is_known_at_first() -> None:
    """And nothing is made up."""
    host = Host("h")
    assert host.first_byte_s() is None
    assert host.connection_bytes_per_s() is None
    assert host.total_bytes_per_s(0.0) == 0.0
    assert host.stats(0.0) is None


def test_one_get_tells_latency_and_rate() -> None:
    """The rate is that of the body: the wait for its head is latency."""
    host = Host("h")
    host.learn(get(), 0.0)
    assert host.first_byte_s() == 0.03
    assert host.connection_bytes_per_s() == pytest.approx(60 * MB)
    assert host.stats(0.0) == pytest.approx(HostStats(0.03, 60 * MB, 60 * MB))


def test_new_connections_are_counted_apart() -> None:
    """They stand for the others only while there are none."""
    host = Host("h")
    host.learn(get(0.09, new=True), 0.0)
    assert host.first_byte_s() == 0.09
    assert host.latencies_known == 0
    host.learn(get(0.03), 0.0)
    assert host.first_byte_s() == 0.03
    assert host.latencies_known == 1


@pytest.mark.parametrize(
    "record",
    [get(None, outcome=Outcome.CUT), get(0.001, outcome=Outcome.OVERLOADED)],
)
def test_what_says_nothing_is_not_learned(record: GetRecord) -> None:
    """No answer has no latency; a refusal for load has one, but of another kind."""
    host = Host("h")
    host.learn(record, 0.0)
    assert host.first_byte_s() is None


def test_small_bodies_have_no_rate() -> None:
    """They come out of buffers."""
    host = Host("h")
    host.learn(get(size=128 * 1024, seconds=0.0301), 0.0)
    assert host.connection_bytes_per_s() is None
    host.learn(get(seconds=0.03), 0.0)  # all of it with the head: no time, no rate
    assert host.connection_bytes_per_s() is None


def test_the_greatest_total_fades() -> None:
    """To half in the half-life; a smaller one does not lower it, a greater one counts."""
    host = Host("h")
    host.learn_total(400 * MB, 0.0)
    host.learn_total(25 * MB, 1.0)
    assert host.total_bytes_per_s(0.0) == pytest.approx(400 * MB)
    assert host.total_bytes_per_s(TOTAL_HALF_LIFE_S) == pytest.approx(200 * MB)
    host.learn_total(250 * MB, TOTAL_HALF_LIFE_S)
    assert host.total_bytes_per_s(TOTAL_HALF_LIFE_S) == pytest.approx(250 * MB)


@given(
    latencies=st.lists(st.floats(0.001, 10), min_size=1, max_size=3 * SAMPLES_KEPT),
    share=st.floats(0, 1),
)
def test_quantiles_are_exact_over_the_last(latencies: list[float], share: float) -> None:
    """As if all kept samples were sorted each time."""
    host = Host("h")
    for latency in latencies:
        host.learn(get(latency), 0.0)
    kept = sorted(latencies[-SAMPLES_KEPT:])
    assert host.first_byte_s(share) == kept[min(len(kept) - 1, int(share * len(kept)))]
