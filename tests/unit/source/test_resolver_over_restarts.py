# SPDX-License-Identifier: Apache-2.0
"""A resolver that begins with the URLs of earlier mounts: which it uses, and which it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.api.records import SignedUrl, Source
from backlotfs.concurrency.clock import Deadline
from backlotfs.source.saved_urls import SavedUrls
from backlotfs.source.url_resolver import CDN_MAX_AGE_S, CHANGE_MARGIN_S, MARGIN_S, UrlResolver
from tests.fakes.api import NumberedApi
from tests.fakes.clocks import ManualClock


class Mounts:
    """Mounts one after the other, before one API."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.api = NumberedApi(self.clock)
        self._path = folder / "urls" / "library.sqlite3"

    @contextmanager
    def mount(
        self, updated_at_s: Callable[[str], float | None] = lambda _code: None
    ) -> Iterator[UrlResolver]:
        """The resolver of one mount, with the times of the records that it presents."""
        saved = SavedUrls(self._path, self.clock)
        try:
            yield UrlResolver(
                self.api,
                ApiRateLimiter(self.clock),
                self.clock,
                updated_at_s=updated_at_s,
                saved=saved,
            )
        finally:
            saved.close()

    def url(self, resolver: UrlResolver, code: str = "E1", *, current: bool = False) -> str:
        """What a reader (current: a probe) is given."""
        return resolver.resolve(code, Deadline(60, self.clock), current=current).url


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    """Nothing kept yet."""
    return Mounts(tmp_path)


def test_a_url_is_asked_for_once_in_its_life(mounts: Mounts) -> None:
    """However many mounts use it; its size comes with it; near its end it is renewed."""
    for _ in range(3):
        with mounts.mount() as resolver:
            assert mounts.url(resolver) == mounts.url(resolver, current=True) == "http://o/E1?n=1"
            assert resolver.reported_size("E1") == 5
            assert resolver.has_fresh("E1")
            mounts.clock.advance(600)
    mounts.clock.advance(3600 - 1800 - MARGIN_S + 1)
    with mounts.mount() as resolver:
        assert mounts.url(resolver) == "http://o/E1?n=1", "a part of what is left is the margin"
        mounts.clock.advance(MARGIN_S)
        assert mounts.url(resolver) == "http://o/E1?n=2"
    assert mounts.api.calls == ["E1", "E1"]


def test_the_servers_clock_counts(mounts: Mounts) -> None:
    """A record is compared with the moment as the server's clock had it."""
    mounts.api.clock_skew_s = 5000.0
    with mounts.mount() as resolver:
        asked_s = mounts.clock.now() + 5000
        mounts.url(resolver)
    with mounts.mount(lambda _code: asked_s - CHANGE_MARGIN_S - 1) as resolver:
        assert mounts.url(resolver) == "http://o/E1?n=1"


@pytest.mark.parametrize("how", ["refused", "forgotten", "touched"])
def test_what_is_not_used_again(mounts: Mounts, how: str) -> None:
    """Neither by this mount's probes nor by the next mount."""
    with mounts.mount() as resolver:
        url = resolver.resolve("E1", Deadline(60, mounts.clock))
        mounts.clock.advance(1)
        if how == "refused":
            resolver.invalidate("E1", url)
        elif how == "forgotten":
            resolver.forget("E1")
        else:
            resolver.invalidate_on_change("E1")
    mounts.clock.advance(1)
    with mounts.mount() as resolver:
        assert not resolver.has_fresh("E1")
        assert mounts.url(resolver) == "http://o/E1?n=2"


def test_a_new_url_after_a_touch_is_kept(mounts: Mounts) -> None:
    """It names what the source is now."""
    with mounts.mount() as resolver:
        mounts.url(resolver)
        mounts.clock.advance(1)
        resolver.invalidate_on_change("E1")
        mounts.clock.advance(1)
        assert mounts.url(resolver) == "http://o/E1?n=1", "who reads goes on with it"
        assert mounts.url(resolver, current=True) == "http://o/E1?n=2"
    with mounts.mount() as resolver:
        assert mounts.url(resolver) == "http://o/E1?n=2"


def test_a_url_that_was_asked_for_before_a_touch_is_not_kept(mounts: Mounts) -> None:
    """The touch comes while the API answers."""

    class Touching(NumberedApi):
        def get_source(self, embed_code: str, **options: Any) -> Source:
            source = super().get_source(embed_code, **options)
            mounts.clock.advance(1)
            resolver.invalidate_on_change(embed_code)
            return source

    mounts.api = Touching(mounts.clock)
    with mounts.mount() as resolver:
        assert mounts.url(resolver) == "http://o/E1?n=1"
    with mounts.mount() as again:
        assert not again.has_fresh("E1")


@pytest.mark.parametrize(
    ("after_s", "used"), [(-CHANGE_MARGIN_S - 0.5, True), (-1.0, False), (500.0, False)]
)
def test_a_record_that_changed_while_nobody_looked(
    mounts: Mounts, after_s: float, used: bool
) -> None:
    """So long after the URL was asked for: it may be the old object's. It does not come back."""
    with mounts.mount() as resolver:
        asked_s = mounts.clock.now()
        mounts.url(resolver)
        mounts.url(resolver, "E2")
    mounts.clock.advance(1000)
    records = {"E1": asked_s + after_s}
    with mounts.mount(records.get) as resolver:
        assert resolver.has_fresh("E1") is used
        assert resolver.has_fresh("E2"), "not in the library that is presented, and no harm"
        records |= {"E1": asked_s + 5000, "E2": asked_s + 5000}
        assert resolver.has_fresh("E1") is used, "from now on changes are told by touched"
        assert not resolver.has_fresh("E2"), (
            "its record is new to this mount, so it was not touched"
        )
    with mounts.mount() as resolver:
        assert resolver.has_fresh("E1") is used


def test_a_reader_goes_on_with_a_url_that_was_right_before_a_touch(mounts: Mounts) -> None:
    """Also if nobody used it before the touch: its object is that of the version that is read."""
    with mounts.mount() as resolver:
        asked_s = mounts.clock.now()
        mounts.url(resolver)
    mounts.clock.advance(1000)
    records = {"E1": asked_s - 500}
    with mounts.mount(records.get) as resolver:
        resolver.invalidate_on_change("E1")
        records["E1"] = asked_s + 1000
        assert mounts.url(resolver) == "http://o/E1?n=1"
        assert mounts.url(resolver, current=True) == "http://o/E1?n=2"


@pytest.mark.parametrize("expired", [False, True])
def test_a_url_that_came_with_a_listing_is_not_compared(mounts: Mounts, *, expired: bool) -> None:
    """It takes the place of one from an earlier mount that has expired, or is too old."""
    with mounts.mount() as resolver:
        asked_s = mounts.clock.now()
        mounts.url(resolver)
    mounts.clock.advance(3000)
    records = dict.fromkeys(["E1"], asked_s + 2000)
    with mounts.mount(records.get) as resolver:
        mounts.clock.advance(600 if expired else 0)
        listed = SignedUrl("http://o/listed", mounts.clock.now() + 3600)
        resolver.put_if_absent("E1", Source(listed, 5))
        assert mounts.url(resolver, current=True) == "http://o/listed"


def test_urls_of_the_cdn_host_are_kept_with_their_age(mounts: Mounts) -> None:
    """They tell what the source was so long ago."""
    asked_s = mounts.clock.now()
    mounts.api.cdn_answer = Source(SignedUrl("http://o/late", asked_s + 3600), 5)
    with mounts.mount(lambda _code: asked_s - 10_000) as resolver:
        assert mounts.url(resolver, "E1") == mounts.url(resolver, "E2") == "http://o/late"
    as_of_s = asked_s - CDN_MAX_AGE_S
    changed = {"E1": as_of_s - CHANGE_MARGIN_S - 1, "E2": as_of_s - CHANGE_MARGIN_S + 1}
    with mounts.mount(changed.get) as resolver:
        assert resolver.has_fresh("E1")
        assert not resolver.has_fresh("E2")
