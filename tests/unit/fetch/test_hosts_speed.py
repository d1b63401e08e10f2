"""What GETs teach about a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.fetch.hosts import SAMPLES_KEPT, TOTAL_HALF_LIFE_S, LinkEstimate
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
    estimate = LinkEstimate()
    assert estimate.first_byte_s() is None
    assert estimate.connection_bytes_per_s() is None
    assert estimate.total_bytes_per_s(0.0) == 0.0
    assert estimate.stats(0.0) is None


def test_one_get_tells_latency_and_rate() -> None:
    """The rate is that of the body: the wait for its head is latency."""
    estimate = LinkEstimate()
    estimate.observe(get())
    assert estimate.first_byte_s() == 0.03
    assert estimate.connection_bytes_per_s() == pytest.approx(60 * MB)
    assert estimate.stats(0.0) == pytest.approx(HostStats(0.03, 60 * MB, 60 * MB))


def test_new_connections_are_counted_apart() -> None:
    """They stand for the others only while there are none."""
    estimate = LinkEstimate()
    estimate.observe(get(0.09, new=True))
    assert estimate.first_byte_s() == 0.09
    assert estimate.latencies_known == 0
    estimate.observe(get(0.03))
    assert estimate.first_byte_s() == 0.03
    assert estimate.latencies_known == 1


@pytest.mark.parametrize(
    "record",
    [get(None, outcome=Outcome.CUT), get(0.001, outcome=Outcome.OVERLOADED)],
)
def test_what_says_nothing_is_not_learned(record: GetRecord) -> None:
    """No answer has no latency; a refusal for load has one, but of another kind."""
    estimate = LinkEstimate()
    estimate.observe(record)
    assert estimate.first_byte_s() is None


def test_small_bodies_have_no_rate() -> None:
    """They come out of buffers."""
    estimate = LinkEstimate()
    estimate.observe(get(size=128 * 1024, seconds=0.0301))
    assert estimate.connection_bytes_per_s() is None
    estimate.observe(get(seconds=0.03))  # all of it with the head: no time, no rate
    assert estimate.connection_bytes_per_s() is None


def test_the_greatest_total_fades() -> None:
    """To half in the half-life; a smaller one does not lower it, a greater one counts."""
    estimate = LinkEstimate()
    estimate.observe_total(400 * MB, 0.0)
    estimate.observe_total(25 * MB, 1.0)
    assert estimate.total_bytes_per_s(0.0) == pytest.approx(400 * MB)
    assert estimate.total_bytes_per_s(TOTAL_HALF_LIFE_S) == pytest.approx(200 * MB)
    estimate.observe_total(250 * MB, TOTAL_HALF_LIFE_S)
    assert estimate.total_bytes_per_s(TOTAL_HALF_LIFE_S) == pytest.approx(250 * MB)


@given(
    latencies=st.lists(st.floats(0.001, 10), min_size=1, max_size=3 * SAMPLES_KEPT),
    share=st.floats(0, 1),
)
def test_quantiles_are_exact_over_the_last(latencies: list[float], share: float) -> None:
    """As if all kept samples were sorted each time."""
    estimate = LinkEstimate()
    for latency in latencies:
        estimate.observe(get(latency))
    kept = sorted(latencies[-SAMPLES_KEPT:])
    assert estimate.first_byte_s(share) == kept[min(len(kept) - 1, int(share * len(kept)))]
