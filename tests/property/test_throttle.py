# SPDX-License-Identifier: Apache-2.0
"""The limit holds for any number of connections, is used up, and is shared between the classes."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlotfs.source.bandwidth import BandwidthLimit

MB = 1_000_000


def receive_bytes(limit: BandwidthLimit) -> int:
    """What one receive brings: a twentieth of a second's worth, between 4 KiB and 1 MiB."""
    return max(4 * 1024, min(1024 * 1024, int(limit.bytes_per_s / 20)))


def received(
    limit: BandwidthLimit, *, urgent: int, ahead: int, seconds: float, step: int | None = None
) -> tuple[int, int]:
    """Bytes of each class when so many connections, faster than any limit, obey for so long."""
    step = step or receive_bytes(limit)
    totals = [0, 0]
    due = [(0.0, number) for number in range(urgent + ahead)]
    heapq.heapify(due)
    while due and due[0][0] < seconds:
        now_s, number = heapq.heappop(due)
        reader = number < urgent
        totals[not reader] += step
        rest_s = limit.take(step, now_s, urgent=reader)
        assert rest_s >= 0
        heapq.heappush(due, (now_s + max(rest_s, 1e-4), number))
    return totals[0], totals[1]


@settings(max_examples=50)
@given(rate=st.floats(50_000, 1000 * MB), urgent=st.integers(0, 8), ahead=st.integers(0, 24))
def test_the_rate_holds_and_is_used(rate: float, urgent: int, ahead: int) -> None:
    """Not more than the rate, and what each connection may overdraw; not less either."""
    if not urgent + ahead:
        return
    limit = BandwidthLimit(rate)
    seconds = 20.0
    total = sum(received(limit, urgent=urgent, ahead=ahead, seconds=seconds))
    overdrawn = 2 * (urgent + ahead) * receive_bytes(limit)
    assert total <= rate * seconds + limit.burst_bytes + overdrawn
    possible = (urgent + ahead) * receive_bytes(limit) / 1e-4
    assert total >= 0.95 * min(rate, possible) * seconds - overdrawn


@pytest.mark.parametrize(("urgent", "ahead"), [(1, 16), (4, 4), (8, 20)])
def test_the_classes_share(urgent: int, ahead: int) -> None:
    """Readers keep half of the rate beside any read-ahead, which goes on all the same."""
    limit = BandwidthLimit(10 * MB)
    readers, rest = received(limit, urgent=urgent, ahead=ahead, seconds=30)
    assert readers / (readers + rest) == pytest.approx(0.5, abs=0.08)


def test_read_ahead_among_many_readers() -> None:
    """It keeps about what one connection of so many would have."""
    readers, rest = received(BandwidthLimit(10 * MB), urgent=16, ahead=1, seconds=30)
    assert rest / (readers + rest) == pytest.approx(1 / 17, rel=0.3)


@pytest.mark.parametrize(("urgent", "ahead"), [(1, 0), (0, 1), (5, 0), (0, 12)])
def test_alone_a_class_has_all(urgent: int, ahead: int) -> None:
    """Nothing is kept back for those who are not there."""
    limit = BandwidthLimit(10 * MB)
    total = sum(received(limit, urgent=urgent, ahead=ahead, seconds=30))
    assert total == pytest.approx(300 * MB, rel=0.03)


def test_a_small_read_does_not_queue_behind_read_ahead() -> None:
    """However deep read-ahead is in debt, a reader rests for its own bytes only."""
    limit = BandwidthLimit(1 * MB)
    for _ in range(100):
        limit.take(100_000, 1.0, urgent=False)
    assert limit.take(128 * 1024, 1.0, urgent=True) <= 2 * 128 * 1024 / MB + 1e-9


def test_a_pause_gives_a_burst_and_no_more() -> None:
    """After an hour of nothing no hour's worth of bytes may pass."""
    limit = BandwidthLimit(10 * MB, burst_bytes=MB)
    assert limit.take(MB, 3600.0, urgent=False) == 0
    assert limit.take(MB, 3600.0, urgent=False) == pytest.approx(0.1)


def test_time_that_goes_back_is_no_credit() -> None:
    """Threads may come with readings of the clock in another order."""
    limit = BandwidthLimit(10 * MB, burst_bytes=0)
    limit.take(MB, 10.0, urgent=False)
    assert limit.take(MB, 9.0, urgent=False) == pytest.approx(0.2)
    assert limit.take(0, 10.0, urgent=False) == pytest.approx(0.2)


@pytest.mark.parametrize("rate", [0, -1.0])
def test_a_limit_must_be_above_zero(rate: float) -> None:
    """No limit is None, not zero."""
    with pytest.raises(ValueError, match="above zero"):
        BandwidthLimit(rate)
