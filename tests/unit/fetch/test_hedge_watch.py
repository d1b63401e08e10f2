# SPDX-License-Identifier: Apache-2.0
"""When the watch looks, and when it sleeps."""

from __future__ import annotations

import threading

import pytest

from backlotfs.concurrency.clock import SystemClock
from backlotfs.fetch.loader import HEDGE_CHECK_S, BlockFetch, HedgeWatch
from tests.fakes.records import source_version
from tests.unit.fetch.gated_transfers import AllowedHedges, GatedStore

V1 = source_version(size=195)


def transfer(gated: GatedStore) -> BlockFetch:
    """One that is not begun."""
    return BlockFetch(gated.store, V1, range(1))


def test_nothing_to_watch() -> None:
    """Then there is no next look."""
    watch = HedgeWatch(AllowedHedges(), lambda _fetch, _hedges: None, SystemClock())
    assert watch.look(1.0) is None


def test_the_next_look_is_when_the_first_is_due() -> None:
    """And not later than the usual time: another may have come meanwhile."""
    gated = GatedStore()
    watch = gated.watch
    watched = transfer(gated)
    watch.add(watched)
    assert watch.look(100.0) == 100.0 + HEDGE_CHECK_S  # it has not begun
    watched.last_progress_s = 99.9
    watched.waiters[0] = []
    assert watch.look(100.0) == 100.0 + HEDGE_CHECK_S  # due at 100.1
    assert watch.look(100.09) == pytest.approx(100.1)
    watched.done = True
    assert watch.look(100.0) is None


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on without it, and it is tried again."""

    class Refused:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    gated = GatedStore(watched=False)
    monkeypatch.setattr(threading, "Thread", Refused)
    gated.watch.add(transfer(gated))
    assert not gated.watch._started
