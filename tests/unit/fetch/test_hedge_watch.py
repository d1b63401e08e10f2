"""When the watch looks, and when it sleeps."""

from __future__ import annotations

import threading

import pytest

from backlotfs.concurrency.clock import SystemClock
from backlotfs.fetch.block_fetch import BlockFetch
from backlotfs.fetch.hedge_watch import LOOK_S, HedgeWatch
from tests.unit.fakes import PATIENCE_S, identity
from tests.unit.fetch.gated_transfers import AllowedHedges, GatedStore

V1 = identity(size=195)


def transfer(gated: GatedStore) -> BlockFetch:
    """One that is not begun."""
    return gated.store._new_fetch(V1, range(1), None)


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
    assert watch.look(100.0) == 100.0 + LOOK_S  # it has not begun
    watched.last_progress_s = 99.9
    watched.waiters[0] = []
    assert watch.look(100.0) == 100.0 + LOOK_S  # due at 100.1
    assert watch.look(100.09) == pytest.approx(100.1)
    watch.discard(watched)
    watch.discard(watched)
    assert watch.look(100.0) is None


def test_one_that_comes_before_the_sleep_is_seen() -> None:
    """Between a look that found nothing and going to sleep."""
    gated = GatedStore()
    seen = threading.Event()
    looked: list[float] = []

    class Late(HedgeWatch):
        def look(self, now_s: float) -> float | None:
            looked.append(now_s)
            if len(looked) == 1:
                super().discard(first)
                self._watched[1] = second  # as `add` from another thread, before the sleep
                return None
            self._watched.clear()
            seen.set()
            return None

    first, second = transfer(gated), transfer(gated)
    Late(gated.hedges, lambda _fetch, _hedges: None, SystemClock()).add(first)
    assert seen.wait(PATIENCE_S)


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on without it, and it is tried again."""

    class Refused:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    gated = GatedStore(watched=False)
    monkeypatch.setattr(threading, "Thread", Refused)
    watched = transfer(gated)
    gated.watch.add(watched)
    assert not gated.watch._started
