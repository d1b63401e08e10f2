# SPDX-License-Identifier: Apache-2.0
"""The first GET fails, the hedge fails, both fail: who is told what."""

from __future__ import annotations

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.errors import BacklotError, ContentChanged, RemoteUnavailable
from tests.fakes.sources import result
from tests.unit.fetch.gated_transfers import LATE_S, V1, GatedStore, ahead, begin, check


@pytest.mark.parametrize("as_read_ahead", [False, True])
def test_the_hedge_takes_over(as_read_ahead: bool) -> None:
    """The first GET fails while the hedge lives: no reader sees it, and no third GET is made."""
    gated = GatedStore()
    if as_read_ahead:
        first = ahead(gated, 0, 60)
        demand = gated.store.demand(V1, ByteRange(0, 60))
    else:
        demand, first = begin(gated, 0, 60)
    gated.look(LATE_S)
    hedge = gated.next_get()
    first.fail(RemoteUnavailable("cut"))
    assert gated.store.prefetch_bytes == 0
    assert gated.none_begun()
    joined = gated.store.demand(V1, ByteRange(50, 60))
    for _ in range(3):
        hedge.land()
    check(demand)
    check(joined)
    hedge.finish()
    assert gated.hedges.won == [True]
    gated.check_at_rest()


def test_what_the_hedge_does_not_bring_fails_with_the_first() -> None:
    """Only those who wait for the other blocks are told."""
    gated = GatedStore()
    served, first = begin(gated, 0, 60)
    served.abandon()
    waiting = gated.store.demand(V1, ByteRange(20, 30))
    failing = gated.store.demand(V1, ByteRange(50, 60))
    gated.look(LATE_S)
    hedge = gated.next_get()
    assert hedge.wanted == ByteRange(20, 30)
    first.fail(RemoteUnavailable("cut"))
    with pytest.raises(RemoteUnavailable):
        result(failing)
    hedge.land()
    check(waiting)
    hedge.finish()
    gated.check_at_rest()


def test_both_fail() -> None:
    """The reader is told what the last of them ended with, once."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 10)
    gated.look(LATE_S)
    hedge = gated.next_get()
    first.fail(RemoteUnavailable("first"))
    assert not demand.complete
    hedge.fail(RemoteUnavailable("second"))
    with pytest.raises(RemoteUnavailable, match="second"):
        result(demand)
    assert gated.hedges.won == [False]
    gated.check_at_rest()


@pytest.mark.parametrize("error", [RemoteUnavailable("cut"), ContentChanged("replaced")])
def test_a_hedge_that_fails_is_nobodys_failure(error: BacklotError) -> None:
    """As long as the first GET lives; it may be hedged again."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 10)
    gated.look(LATE_S)
    gated.next_get().fail(error)
    assert gated.hedges.won == [False]
    assert gated.changed == ([V1] if isinstance(error, ContentChanged) else [])
    assert not demand.complete
    gated.look()
    again = gated.next_get()
    first.land()
    check(demand)
    first.finish()
    again.land()
    again.finish()
    gated.check_at_rest()


def test_another_version_is_said_at_once() -> None:
    """A hedge would find the same."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 10)
    gated.look(LATE_S)
    hedge = gated.next_get()
    first.fail(ContentChanged("replaced"))
    with pytest.raises(ContentChanged):
        result(demand)
    assert gated.changed == [V1]
    hedge.land()
    hedge.finish()
    gated.check_at_rest()


def test_the_heir_can_be_hedged_too() -> None:
    """It is a transfer like any other then."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 10)
    gated.look(LATE_S)
    heir = gated.next_get()
    first.fail(RemoteUnavailable("cut"))
    gated.look(LATE_S)
    hedge = gated.next_get()
    hedge.land()
    check(demand)
    hedge.finish()
    heir.land()
    heir.finish()
    assert gated.hedges.won == [True, False]
    gated.check_at_rest()
