# SPDX-License-Identifier: Apache-2.0
"""URLs that a CDN host gives: when it is asked, and when the API's own host is asked after it."""

from __future__ import annotations

import pytest

from backlotfs.api.rate_limiter import Priority
from backlotfs.api.records import SignedUrl, Source
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import (
    DeadlineExceeded,
    ProtocolViolation,
    RemoteUnavailable,
    SourceMissing,
)
from backlotfs.source.url_resolver import CDN_MAX_AGE_S, CDN_PAUSE_S
from tests.unit.source.numbered_urls import Setup


class CdnSetup(Setup):
    """A record that was last touched ``age_s`` before, and a CDN host that knows its URL."""

    def __init__(self, *, age_s: float = 10_000.0, skew_s: float = 0.0) -> None:
        super().__init__()
        self.api.clock_skew_s = skew_s
        self.updated_at_s["E1"] = self.clock.now() + skew_s - age_s
        self.cdn_url = self.made("http://o/cdn")
        self.api.cdn_answer = Source(self.cdn_url, 5)

    def made(self, url: str, *, life_s: float = 3600.0) -> SignedUrl:
        """A URL that lives so long, by the server's clock."""
        return SignedUrl(url, self.clock.now() + self.api.clock_skew_s + life_s)


def test_the_cdn_host_gives_urls_without_a_credit() -> None:
    """Also the size comes with it; it is kept like any other."""
    setup = CdnSetup()
    assert setup.resolver.is_free("E1")
    assert setup.url() == setup.url() == "http://o/cdn"
    assert (setup.api.calls, setup.api.cdn_calls) == ([], ["E1"])
    assert setup.resolver.reported_size("E1") == 5
    assert setup.resolver.refreshes == 1


@pytest.mark.parametrize("skew_s", [0.0, 7200.0, -7200.0])
def test_the_cdn_host_is_not_asked_about_what_was_touched_lately(skew_s: float) -> None:
    """Its answer may be from before. The server's clock counts, whatever ours says."""
    setup = CdnSetup(age_s=CDN_MAX_AGE_S - 1, skew_s=skew_s)
    assert not setup.resolver.is_free("E1")
    assert setup.url() == "http://o/E1?n=1"
    assert setup.api.cdn_calls == []
    setup.resolver.invalidate_on_change("E1")
    setup.clock.advance(2.0)
    setup.api.cdn_answer = Source(setup.made("http://o/cdn"), 5)
    assert setup.resolver.is_free("E1")
    setup.resolver.resolve(
        "E1", Deadline(60, setup.clock), current=True, priority=Priority.BACKGROUND, turn=None
    )
    assert setup.url() == "http://o/cdn"
    assert setup.api.calls == ["E1"]


@pytest.mark.parametrize("presented", [False, True])
def test_it_is_not_asked(*, presented: bool) -> None:
    """Where there is no CDN host; nor about an asset that is not presented."""
    setup = CdnSetup()
    setup.api.has_cdn = not presented
    if not presented:
        setup.updated_at_s.clear()
    assert not setup.resolver.is_free("E1")
    assert setup.url() == "http://o/E1?n=1"
    assert setup.api.cdn_calls == []


@pytest.mark.parametrize(
    "failure",
    [RemoteUnavailable("down"), ProtocolViolation("no JSON"), SourceMissing("not yet"), None],
)
def test_a_cdn_host_that_fails_is_no_failure(failure: Exception | None) -> None:
    """The API is asked in its place, and the CDN host not again for a while."""
    setup = CdnSetup()
    setup.api.cdn_answer = failure or Source(None, 5)
    assert setup.url() == "http://o/E1?n=1"
    assert not setup.resolver.is_free("E2")
    setup.resolver.forget("E1")
    assert not setup.resolver.is_free("E1")
    assert setup.url() == "http://o/E1?n=2"
    assert setup.api.cdn_calls == ["E1"]
    setup.clock.advance(CDN_MAX_AGE_S + 1)
    setup.api.cdn_answer = Source(setup.made("http://o/cdn"), 5)
    setup.resolver.forget("E1")
    assert setup.url() == "http://o/cdn"


@pytest.mark.parametrize(
    ("failure", "rests"),
    [
        (RemoteUnavailable("down"), True),
        (DeadlineExceeded("silent"), True),
        (SourceMissing("not yet"), False),
    ],
)
def test_a_cdn_host_that_does_not_answer_rests(failure: Exception, rests: bool) -> None:
    """Else every file would wait for it first, and a `stat` has no time for both."""
    setup = CdnSetup()
    setup.updated_at_s["E2"] = setup.updated_at_s["E1"]
    setup.api.cdn_answer = failure
    setup.url()
    assert setup.resolver.is_free("E2") is not rests
    setup.clock.advance(CDN_PAUSE_S)
    assert setup.resolver.is_free("E2")


@pytest.mark.parametrize("skew_s", [0.0, 7200.0, -7200.0])
def test_a_dead_url_of_the_cdn_host_is_not_used(skew_s: float) -> None:
    """Its answer may be older than the URL lives."""
    setup = CdnSetup(skew_s=skew_s)
    setup.api.cdn_answer = Source(setup.made("http://o/dead", life_s=-1.0), 5)
    assert setup.url() == "http://o/E1?n=1"
    assert setup.api.calls == ["E1"]


def test_a_refused_url_of_the_cdn_host_is_not_used_again() -> None:
    """The host answers with the same URL for minutes, and a source host has refused it."""
    setup = CdnSetup()
    setup.resolver.invalidate("E1", setup.resolve())
    assert setup.url() == "http://o/E1?n=1"
    assert setup.api.cdn_calls == ["E1", "E1"]
    assert setup.resolver.refused == 1
