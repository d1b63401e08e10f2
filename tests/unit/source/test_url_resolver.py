# SPDX-License-Identifier: Apache-2.0
"""Signed URLs: kept while they live, renewed before they die, one renewal at a time."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.api.records import SignedUrl, Source
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import DeadlineExceeded, RemoteUnavailable, SourceMissing
from backlotfs.source.url_resolver import MARGIN_S, MARGIN_SHARE, UNKNOWN_LIFETIME_S, UrlResolver
from tests.fakes.api import NumberedApi
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S, STUCK_S, in_threads, join_all
from tests.unit.source.numbered_urls import Setup

pytestmark = pytest.mark.timeout(STUCK_S)


def test_kept_while_it_lives() -> None:
    """One call of the API per asset and life."""
    setup = Setup()
    assert setup.url() == setup.url() == "http://o/E1?n=1"
    assert setup.url("E2") == "http://o/E2?n=2"
    assert setup.api.calls == ["E1", "E2"]
    assert setup.resolver.refreshes == 2


@pytest.mark.parametrize(
    ("life_s", "kept_s"),
    [(72 * 3600.0, 72 * 3600 - MARGIN_S), (240.0, 180.0), (2.0, 1.5), (None, UNKNOWN_LIFETIME_S)],
)
def test_renewed_before_it_dies(life_s: float | None, kept_s: float) -> None:
    """A minute before, or a quarter of a short life; without ``Expires`` after five minutes."""
    setup = Setup(life_s=life_s)
    setup.url()
    setup.clock.advance(kept_s - 0.01)
    assert setup.url() == "http://o/E1?n=1"
    setup.clock.advance(0.02)
    assert setup.url() == "http://o/E1?n=2"


@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_the_servers_clock_counts(skew_s: float) -> None:
    """A machine whose clock is off by an hour renews at the right moment all the same."""
    setup = Setup(life_s=240.0)
    setup.api.clock_skew_s = skew_s
    setup.url()
    setup.clock.advance(179.0)
    assert setup.url() == "http://o/E1?n=1"
    setup.clock.advance(2.0)
    assert setup.url() == "http://o/E1?n=2"


def test_a_url_that_is_dead_on_arrival_is_not_kept() -> None:
    """It is handed out, because only the source host knows for sure, and never again."""
    setup = Setup(life_s=-5.0)
    assert setup.url() == "http://o/E1?n=1"
    assert setup.url() == "http://o/E1?n=2"


@given(
    life_s=st.floats(0.5, 300_000),
    skew_s=st.floats(-7200, 7200),
    steps=st.lists(st.floats(0, 100_000), max_size=20),
)
def test_never_less_than_the_margin_left(life_s: float, skew_s: float, steps: list[float]) -> None:
    """Whatever is handed out has its margin left, by the server's clock, at any moment."""
    setup = Setup(life_s=life_s)
    setup.api.clock_skew_s = skew_s
    margin = min(MARGIN_S, MARGIN_SHARE * life_s)
    for step in steps:
        setup.clock.advance(step)
        dies_at = setup.resolve().expires_at_s
        assert dies_at is not None
        left = dies_at - (setup.clock.now() + skew_s)
        # microseconds are lost where a wall clock is a float
        assert left >= margin - 1e-3


def test_invalidate_is_compare_and_swap() -> None:
    """A late failure of an old URL does not discard a newer one."""
    setup = Setup()
    first = setup.resolve()
    setup.resolver.invalidate("E1", first)
    second = setup.resolve()
    assert second != first
    setup.resolver.invalidate("E1", first)
    setup.resolver.invalidate("E2", first)
    assert setup.resolve() is second
    assert len(setup.api.calls) == 2


def test_forget() -> None:
    """A replaced asset's URL is not used again, whatever it is."""
    setup = Setup()
    setup.url()
    setup.resolver.forget("E1")
    setup.resolver.forget("E1")
    assert setup.url() == "http://o/E1?n=2"


def test_a_url_that_expires_while_it_is_invalidated() -> None:
    """The clock moves between two looks at it: no error, and it is gone."""

    class Ticking(ManualClock):
        step_s = 0.0

        def now(self) -> float:
            self.advance(self.step_s)
            return super().now()

    clock = Ticking()
    api = NumberedApi(clock, life_s=10.0)
    resolver = UrlResolver(api, ApiRateLimiter(clock), clock)
    for forget in (False, True):
        clock.step_s = 0.0
        url = resolver.resolve("E1", Deadline(60, clock))
        clock.step_s = 4.0
        if forget:
            resolver.forget("E1")
        else:
            resolver.invalidate("E1", url)


def test_a_url_that_came_for_another_purpose() -> None:
    """Is taken if none is known, and only then; a null one never."""
    setup = Setup()
    assert not setup.resolver.has_fresh("E1")
    setup.resolver.put_if_absent("E1", Source(None, 5))
    assert not setup.resolver.has_fresh("E1")
    dies_at_s = setup.clock.now() + 3600
    for name in ("offered", "late"):
        setup.resolver.put_if_absent("E1", Source(SignedUrl(f"http://o/{name}", dies_at_s), 5))
    assert setup.resolver.has_fresh("E1")
    assert setup.url() == "http://o/offered"
    assert setup.api.calls == []
    setup.clock.advance(3600)
    assert not setup.resolver.has_fresh("E1")


def test_no_url() -> None:
    """A null URL is SourceMissing, and is not remembered here."""
    setup = Setup()
    setup.api.has_url = False
    with pytest.raises(SourceMissing, match="E1"):
        setup.url()
    setup.api.has_url = True
    assert setup.url() == "http://o/E1?n=2"


def test_an_error_is_not_remembered() -> None:
    """The next caller asks again."""
    setup = Setup()
    setup.api.error = RemoteUnavailable("down")
    with pytest.raises(RemoteUnavailable):
        setup.url()
    setup.api.error = None
    assert setup.url() == "http://o/E1?n=2"


def test_32_expired_readers_one_refresh() -> None:
    """All of them get the one new URL, and another asset does not wait for it."""
    setup = Setup()
    setup.api.gate = threading.Event()
    found: list[str] = []
    threads = in_threads(32, lambda _: found.append(setup.url()))
    assert setup.api.entered.wait(PATIENCE_S)
    setup.api.gate.set()
    join_all(threads)
    assert found == ["http://o/E1?n=1"] * 32
    assert setup.api.calls == ["E1"]


def test_renewed_between_the_look_and_the_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes late for one flight and early for the next does not ask again."""
    setup = Setup()
    flights = setup.resolver._flights
    join = flights.join

    def late(embed_code: str) -> tuple[Future[SignedUrl], bool]:
        setup.resolver.put_if_absent(embed_code, Source(SignedUrl("http://o/renewed"), 5))
        return join(embed_code)

    monkeypatch.setattr(flights, "join", late)
    assert setup.url() == "http://o/renewed"
    assert setup.api.calls == []


def test_a_follower_has_a_deadline_of_its_own() -> None:
    """It does not wait longer for the slow request of another caller."""
    setup = Setup()
    setup.api.gate = threading.Event()
    threads = in_threads(1, lambda _: setup.url())
    assert setup.api.entered.wait(PATIENCE_S)
    try:
        with pytest.raises(DeadlineExceeded, match="E1"):
            setup.resolver.resolve("E1", Deadline(0, setup.clock))
    finally:
        setup.api.gate.set()
        join_all(threads)


def test_a_deadline_that_never_passes() -> None:
    """An infinite wait is one that threads can make."""
    setup = Setup()
    never = Deadline(math.inf, setup.clock)
    assert setup.resolver.resolve("E1", never).url == "http://o/E1?n=1"
