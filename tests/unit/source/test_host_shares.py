# SPDX-License-Identifier: Apache-2.0
"""Places for probes at a host: many while it answers, few while it does not."""

from __future__ import annotations

import threading

import pytest

from backlotfs.errors import HostBusy
from backlotfs.http.exchange import Exchange
from backlotfs.source import host_shares
from backlotfs.source.host_shares import MOST_PLACES, PLACES, HostShares, Place


@pytest.fixture(autouse=True)
def time_stands_still(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds on the monotonic clock; a list, so that a test can move it on."""
    now = [1000.0]
    monkeypatch.setattr(host_shares.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    return now


def filled(shares: HostShares, count: int = PLACES) -> list[Place]:
    """So many places of one host."""
    return [shares.take("a:80", 0.0) for _ in range(count)]


def test_a_host_that_answers_has_places_again_as_probes_end() -> None:
    """A probe that finds none waits, and goes on as soon as one ends."""
    shares = HostShares()
    places = filled(shares)
    got: list[Place] = []
    waiting = threading.Thread(target=lambda: got.append(shares.take("a:80", 60.0)), daemon=True)
    waiting.start()
    places[0].answered()
    places[0].end()
    waiting.join(20)
    assert len(got) == 1


def test_no_place_in_time_is_busy() -> None:
    """It moves, but not fast enough for this probe."""
    shares = HostShares()
    filled(shares)
    with pytest.raises(HostBusy, match=r"a:80 does not answer: 16 requests"):
        shares.take("a:80", 0.0)


def test_a_stalled_host_is_busy_at_once_but_for_a_trial(time_stands_still: list[float]) -> None:
    """One each second is sent to see whether it is well; the bound on all holds in any case."""
    shares = HostShares()
    filled(shares)
    time_stands_still[0] += host_shares.STALL_S
    trials = 0
    for _ in range(20):
        time_stands_still[0] += host_shares.TRIAL_S
        try:
            shares.take("a:80", 60.0)
        except HostBusy:
            break
        trials += 1
        with pytest.raises(HostBusy):
            shares.take("a:80", 60.0)
    assert trials == MOST_PLACES - PLACES


def test_another_host_is_none_of_its_business(time_stands_still: list[float]) -> None:
    """It has all its places."""
    shares = HostShares()
    filled(shares)
    time_stands_still[0] += 10
    assert [shares.take("b:80", 0.0) for _ in range(PLACES)]


def test_many_ports_are_one_host_in_the_end() -> None:
    """An API that names a slow machine by a hundred ports does not get every thread for it."""
    shares = HostShares()
    for port in range(host_shares.MOST_ON_ALL_PORTS):
        shares.take(f"a:{port}", 0.0)
    with pytest.raises(HostBusy, match="a does not answer: 96 requests wait for it, on several"):
        shares.take("a:999", 60.0)
    assert shares.take("b:80", 0.0)
    places = [shares.take("c:80", 0.0) for _ in range(PLACES)]
    for place in places + places:  # an end that is told twice counts once
        place.end()
    for port in range(host_shares.MOST_ON_ALL_PORTS):
        shares.take(f"c:{port}", 0.0)
    with pytest.raises(HostBusy):
        shares.take("c:999", 60.0)


def test_an_answer_ends_the_stall(time_stands_still: list[float]) -> None:
    """What began before and still waits takes no place of those that come now."""
    shares = HostShares()
    filled(shares)
    time_stands_still[0] += host_shares.STALL_S + 0.1
    trial = shares.take("a:80", 0.0)
    time_stands_still[0] += 0.01
    trial.answered()
    trial.end()
    for _ in range(100):
        place = shares.take("a:80", 0.0)
        place.answered()
        place.end()


def test_a_place_ends_once() -> None:
    """To say it twice frees no other's place."""
    shares = HostShares()
    places = filled(shares)
    places[0].end()
    places[0].end()
    shares.take("a:80", 0.0)
    with pytest.raises(HostBusy):
        shares.take("a:80", 0.0)


def test_time_alone_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stall that begins while probes wait is noticed by them: one is the trial."""
    monkeypatch.undo()
    monkeypatch.setattr(host_shares, "STALL_S", 0.3)
    shares = HostShares()
    filled(shares)
    found: list[str] = []

    def take() -> None:
        try:
            shares.take("a:80", 60.0)
            found.append("trial")
        except HostBusy:
            found.append("busy")

    waiting = [threading.Thread(target=take, daemon=True) for _ in range(4)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(30)
    assert sorted(found)[0] == "busy"
    assert "trial" in found
    assert len(found) == len(waiting)


def asked(shares: HostShares, began_ago_s: float, now: list[float]) -> tuple[Place, Exchange]:
    """A probe that began so long ago and has not been answered."""
    now[0] -= began_ago_s
    place = shares.take("a:80", 0.0)
    now[0] += began_ago_s
    place.exchange = Exchange(60.0)
    return place, place.exchange


def test_after_a_stall_what_was_forgotten_is_cut(time_stands_still: list[float]) -> None:
    """A host that is well again never answers what it was asked before."""
    shares = HostShares()
    _, forgotten = asked(shares, host_shares.STALL_S, time_stands_still)
    _, soon_before = asked(shares, 0.5, time_stands_still)
    _, recent = asked(shares, 0.2, time_stands_still)
    trial, its_own = asked(shares, 0.1, time_stands_still)
    trial.answered()
    assert forgotten.left_s == 0
    assert soon_before.left_s == 0
    assert recent.left_s > 0
    assert its_own.left_s > 0


def test_a_host_that_is_slow_for_all_is_cut_nothing(time_stands_still: list[float]) -> None:
    """Its answers take as long as that; they are about to come."""
    shares = HostShares()
    _, other = asked(shares, 4.0, time_stands_still)
    first, _ = asked(shares, 3.0, time_stands_still)
    first.answered()
    assert other.left_s > 0


def test_without_a_stall_nothing_is_cut(time_stands_still: list[float]) -> None:
    """A host may take long for one source and answer the others meanwhile."""
    shares = HostShares()
    first, _ = asked(shares, 1.5, time_stands_still)
    _, slow = asked(shares, 1.5, time_stands_still)
    first.answered()
    for _ in range(10):
        time_stands_still[0] += 1.0
        quick, _ = asked(shares, 0.1, time_stands_still)
        quick.answered()
        quick.end()
    assert slow.left_s > 0


def test_what_was_answered_is_not_cut(time_stands_still: list[float]) -> None:
    """Its body has a time limit of its own."""
    shares = HostShares()
    early, exchange = asked(shares, 60.0, time_stands_still)
    early.answered()
    time_stands_still[0] += 2 * host_shares.STALL_S
    trial, _ = asked(shares, 0.1, time_stands_still)
    trial.answered()
    assert exchange.left_s > 0
