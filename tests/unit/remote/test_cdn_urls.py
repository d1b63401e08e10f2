"""URLs by the CDN host, which cost no credit, and how urgent a paid renewal is."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import math
from concurrent.futures import Future
from pathlib import Path

import pytest

from backlotfs.api.rate_limiter import ApiRateLimiter, Priority
from backlotfs.api.rate_status import RateStatus
from backlotfs.api.records import Source
from backlotfs.api.signed_url import SignedUrl
from backlotfs.clock import Deadline, SystemClock
from backlotfs.errors import BacklotError, NoSuchEntry, RemoteUnavailable
from backlotfs.remote.kept_urls import SavedUrls
from backlotfs.remote.url_resolver import CDN_MAX_AGE_S, CDN_PATIENCE_S, READ_LATELY_S, UrlResolver
from tests.support.deadlines import wait_until
from tests.unit.fakes import PATIENCE_S, ManualClock, in_threads, join_all
from tests.unit.remote.numbered_urls import NumberedApi, Setup


def cdn_setup(*, updated_s_ago: float = CDN_MAX_AGE_S + 1, skew_s: float = 0.0) -> Setup:
    """A CDN host that gives a good URL for a record touched so long ago by the server's clock."""
    setup = Setup(
        updated_at_s=lambda _code: setup.clock.now() + setup.api.clock_skew_s - updated_s_ago
    )
    setup.api.clock_skew_s = skew_s
    setup.api.cdn = Source(SignedUrl("http://o/cdn", setup.clock.now() + skew_s + 3600), 5)
    return setup


@pytest.mark.parametrize("skew_s", [0.0, 3600.0, -3600.0])
def test_the_cdn_host_is_asked_about_old_records_only(skew_s: float) -> None:
    """Its answers are up to five minutes old; the age counts by the server's clock."""
    setup = cdn_setup(skew_s=skew_s)
    assert setup.resolver.is_free("E1")
    assert setup.url() == "http://o/cdn"
    assert (setup.api.cdn_calls, setup.api.calls) == (["E1"], [])
    for ago_s in (CDN_MAX_AGE_S, 0.0, -100.0):
        young = cdn_setup(updated_s_ago=ago_s, skew_s=skew_s)
        assert not young.resolver.is_free("E1")
        assert young.url() == "http://o/E1?n=1"
        assert young.api.cdn_calls == []


def test_without_a_cdn_host_none_is_asked() -> None:
    """Then a lookup costs a credit, until the URL is known or calls cost nothing."""
    setup = Setup()
    assert not setup.resolver.is_free("E1")
    setup.url()
    assert setup.resolver.is_free("E1")
    assert setup.api.cdn_calls == []
    setup.limiter.answered(None)
    assert setup.resolver.is_free("E2")


@pytest.mark.parametrize(
    "answer",
    [
        Source(None, 5),
        Source(SignedUrl("http://o/dead", 1_893_456_000.0), 5),
        RemoteUnavailable("down"),
        NoSuchEntry("404"),
    ],
)
def test_a_useless_answer_of_the_cdn_host(answer: Source | BacklotError) -> None:
    """The paid call is made, and the CDN host is not asked about this asset for some minutes."""
    setup = cdn_setup()
    setup.api.cdn = answer
    assert setup.url() == "http://o/E1?n=1"
    setup.resolver.forget("E1")
    assert not setup.resolver.is_free("E1")
    assert setup.url() == "http://o/E1?n=2"
    assert setup.api.cdn_calls == ["E1"]
    setup.resolver.forget("E1")
    setup.clock.advance(CDN_MAX_AGE_S + 1)
    assert setup.resolver.is_free("E1")


def test_a_url_that_a_source_host_has_refused() -> None:
    """The cache may go on giving it: the paid call brings another."""
    setup = cdn_setup()
    url = setup.resolve()
    assert url.url == "http://o/cdn"
    setup.resolver.invalidate("E1", url)
    assert setup.url() == "http://o/E1?n=1"
    assert setup.api.cdn_calls == ["E1", "E1"]


def test_a_url_of_the_cdn_host_is_kept_with_its_age(tmp_path: Path) -> None:
    """It tells what the source was so long ago; one of the API's own host is of now."""
    clock = ManualClock()
    api = NumberedApi(clock)
    now_s = clock.now()
    api.cdn = Source(SignedUrl("http://o/cdn", now_s + 3600), 5)
    saved = SavedUrls(tmp_path / "urls" / "library.sqlite3", clock)
    touched_s = {"OLD": now_s - 10_000, "YOUNG": now_s - 10}
    resolver = UrlResolver(
        api, ApiRateLimiter(clock), clock, updated_at_s=touched_s.get, saved=saved
    )
    for code in touched_s:
        resolver.resolve(code, Deadline(60, clock))
    saved.close()
    saved = SavedUrls(tmp_path / "urls" / "library.sqlite3", clock)
    kept = saved.load()
    saved.close()
    assert (api.cdn_calls, api.calls) == (["OLD"], ["YOUNG"])
    assert kept["OLD"][2] == pytest.approx(now_s - CDN_MAX_AGE_S)
    assert kept["YOUNG"][2] == pytest.approx(now_s)


@pytest.mark.parametrize(
    ("later_s", "priority"),
    [(READ_LATELY_S - 1, Priority.RENEWAL), (READ_LATELY_S + 1, Priority.WAITING)],
)
def test_a_file_that_is_being_read_is_renewed_first(later_s: float, priority: Priority) -> None:
    """A first URL is as urgent as any wait; the URL of a file that was read lately is more so."""
    setup = Setup()
    url = setup.resolve()
    setup.clock.advance(later_s)
    setup.resolver.invalidate("E1", url)
    setup.url()
    assert setup.api.priorities == [Priority.WAITING, priority]


class Queued(NumberedApi):
    """Waits for a credit before it answers, as the API client does."""

    limiter: ApiRateLimiter

    def get_source(
        self, embed_code: str, *, deadline: Deadline, priority: Priority, **options: object
    ) -> Source:
        """After its turn."""
        self.limiter.acquire(priority, key=embed_code, deadline=deadline)
        return super().get_source(embed_code, deadline=deadline, priority=priority)


def test_who_joins_a_renewal_makes_it_more_urgent_and_its_deadline_stands() -> None:
    """A reader joins a background probe's call, which waits for a credit."""
    api = Queued(ManualClock())
    clock = SystemClock()
    limiter = api.limiter = ApiRateLimiter(clock)
    limiter.acquire(Priority.RENEWAL)
    limiter.answered(RateStatus(0, clock.monotonic() + 3000.0))
    resolver = UrlResolver(api, limiter, clock)
    background = Deadline(PATIENCE_S, clock)
    threads = in_threads(
        1, lambda _: resolver.resolve("E1", background, priority=Priority.BACKGROUND)
    )
    wait_until(lambda: limiter.status().waiting == (0, 0, 0, 1), "the renewal to queue")
    found: list[str] = []
    mine = Deadline(2.0, clock)  # shorter than the wait
    threads += in_threads(1, lambda _: found.append(resolver.resolve("E1", mine).url))
    wait_until(lambda: limiter.status().waiting == (0, 1, 0, 0), "the reader to join")
    threads[1].join(3.0)
    assert threads[1].is_alive(), "its deadline does not run while the call waits for a credit"
    limiter._free_of_charge = True  # the caller at the front looks again within a second
    join_all(threads)
    assert found == ["http://o/E1?n=1"]
    assert mine.remaining_s() > 0.0


def test_a_cdn_host_that_does_not_answer_leaves_time_for_the_paid_call() -> None:
    """It has half of the time at most, and never long."""
    setup = cdn_setup()
    setup.api.cdn = RemoteUnavailable("down")
    for seconds, given_s in ((6.0, 3.0), (60.0, CDN_PATIENCE_S), (math.inf, CDN_PATIENCE_S)):
        setup.resolver.forget("E1")
        setup.clock.advance(CDN_MAX_AGE_S + 1)
        setup.resolver.resolve("E1", Deadline(seconds, setup.clock))
        assert setup.api.cdn_time_s == pytest.approx(given_s)


def test_a_url_that_comes_as_a_wait_for_it_ends() -> None:
    """It is handed out: the end of one short wait is not an error."""
    setup = Setup()

    class Landing(Future[SignedUrl]):
        def result(self, timeout: float | None = None) -> SignedUrl:
            if not self.done():
                self.set_result(SignedUrl("http://o/late"))
                raise TimeoutError
            return super().result(timeout)

    found = setup.resolver._result(Landing(), "E1", Deadline(60, setup.clock))
    assert found.url == "http://o/late"
