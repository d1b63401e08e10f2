"""How many records a listing asks for at a time, over an API that is slow for large pages."""

from __future__ import annotations

import itertools
import math

import pytest
import requests

from backlotfs.api.client import ApiClient
from backlotfs.api.paging import PageSize
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import AnswerTimedOut, DeadlineExceeded
from tests.unit.api.scripted import Reply, reply, said, scripted

ROUTE = "/v2/assets"


class SlowApi:
    """Pages of a library, each of which takes ``base_s`` and ``asset_s`` for each record of it.

    :ivar limits: what was asked for, in order.
    """

    def __init__(
        self, assets: int, asset_s: float, *, base_s: float = 0.0, cap: int = 500, echo: bool = True
    ) -> None:
        self.assets, self.asset_s, self.base_s = assets, asset_s, base_s
        self.cap, self.echo = cap, echo
        self.limits: list[int] = []
        self.rig = scripted(*[self.answer] * 2000)

    def answer(self, _url: str) -> Reply:
        params = self.rig.adapter.params()
        asked, start = int(params.get("limit", 500)), int(params.get("page_token", 0))
        self.limits.append(asked)
        size = min(asked, self.cap)
        codes = range(start, min(start + size, self.assets))
        takes_s = self.base_s + self.asset_s * len(codes)
        _, read_s = self.rig.adapter.timeouts[-1]
        self.rig.clock.advance(min(takes_s, read_s))
        if takes_s > read_s:
            raise requests.ReadTimeout("silent")
        limit = f"limit={size}&" if self.echo else ""
        more = start + size < self.assets
        return reply(
            {
                "items": [{"embed_code": f"E{code}"} for code in codes],
                "next_page": f"{ROUTE}?{limit}page_token={start + size}" if more else None,
            }
        )

    def listed(self, client: ApiClient, start: str | None = None) -> int:
        """Walk to the end: the number of assets, each of which came once."""
        pages = client.iter_pages(deadline=self.rig.deadline(120.0), start=start)
        codes = [asset.embed_code for page in pages for asset in page.items]
        assert len(codes) == len(set(codes))
        return len(codes)


def test_a_page_just_in_time_is_not_cut() -> None:
    """40 ms an asset: 20 s for a page of 500."""
    api = SlowApi(1200, 0.04)
    assert api.listed(api.rig.client) == 1200
    assert api.limits == [500, 500, 500]


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize(("asset_s", "settles_at"), [(0.1, 100), (0.5, 20)])
def test_smaller_pages_after_time_outs(asset_s: float, settles_at: int, echo: bool) -> None:
    """From the same place, with and without a limit in the server's cursors; nothing is lost."""
    api = SlowApi(700, asset_s, echo=echo)
    assert api.listed(api.rig.client) == 700
    assert api.limits[:2] == [500, 100]
    assert api.limits.count(settles_at) > len(api.limits) / 2


def test_the_size_is_remembered_for_later_listings() -> None:
    """The next one does not begin with a time-out."""
    api = SlowApi(300, 0.1)
    api.listed(api.rig.client)
    before = len(api.limits)
    api.listed(api.rig.client)
    assert max(api.limits[before:]) == 100


def test_a_server_with_a_cap_of_its_own() -> None:
    """20 s for each page of 50, whatever is asked for."""
    api = SlowApi(500, 0.0, base_s=20.0, cap=50)
    assert api.listed(api.rig.client) == 500
    assert api.limits == [500, *[50] * 9]


def test_it_goes_up_again() -> None:
    """Once pages come quickly; and each larger size that fails is tried twice as late."""
    api = SlowApi(5000, 0.5)
    pages = api.rig.client.iter_pages(deadline=api.rig.deadline(120.0))
    for _ in range(3):
        next(pages)
    assert api.limits[-1] == 20
    api.asset_s = 0.001
    assert sum(len(page.items) for page in pages) == 5000 - 3 * 20
    assert api.limits[-1] == 500


def test_larger_pages_are_tried_ever_later() -> None:
    """One that always fails costs less and less."""
    size = PageSize(500, 25.0)
    size.timed_out(500)
    tries = [0]
    for page in range(400):
        if size.now == 500:
            tries.append(page)
            size.timed_out(500)
        size.in_time(1.0)
    gaps = [later - sooner for sooner, later in itertools.pairwise(tries)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 8 * gaps[0]


def test_a_gateways_time_out_counts_too() -> None:
    """504: the API behind it was too slow."""
    rig = scripted(said(504, "gateway time-out"), reply({"items": [{"embed_code": "a"}]}))
    assert len(list(rig.client.iter_pages(deadline=rig.deadline()))) == 1
    assert [rig.adapter.params(n)["limit"] for n in range(2)] == ["500", "100"]


def test_the_smallest_is_retried_and_then_fails() -> None:
    """An API that never answers ends the listing, and the error says what can be done."""
    api = SlowApi(700, 100.0)
    with pytest.raises((AnswerTimedOut, DeadlineExceeded)) as caught:
        api.listed(api.rig.client)
    assert "did not answer in time" in str(caught.value)
    assert api.limits[:3] == [500, 100, 20]
    assert "--api-timeout" in AnswerTimedOut("silent").advice()


def test_time_that_brings_pages_is_given_back() -> None:
    """A listing of many slow pages may take longer than its deadline, which is for silence."""
    api = SlowApi(2000, 0.0, base_s=20.0, cap=100)
    assert api.listed(api.rig.client) == 2000
    assert api.rig.clock.monotonic() > 3 * 120.0


def test_a_wait_for_credits_is_no_slowness() -> None:
    """It is given back once, not twice; and pages that came quickly after it are quick ones."""
    wait = said(429, "Try again after 50 seconds.")
    pages = [
        reply({"items": [{"embed_code": f"E{n}"}], "next_page": f"{ROUTE}?page_token={n}"})
        for n in range(4)
    ]
    rig = scripted(requests.ReadTimeout("silent"), wait, pages[0], wait, pages[1], wait, pages[2])
    rig.adapter.steps += [wait, pages[3]]
    deadline = rig.deadline(100.0)
    listing = rig.client.iter_pages(deadline=deadline)
    for _ in range(4):
        next(listing)
    assert rig.clock.monotonic() > 1000.0 + 4 * 50.0
    assert deadline.remaining_s() == pytest.approx(100.0)
    limits = [rig.adapter.params(n).get("limit") for n in (0, 2, 4, 6, 8)]
    assert limits == ["500", "100", "100", "100", None], "a larger page is tried after three"


def test_a_listing_without_a_deadline() -> None:
    """It has none after its first page either."""
    api = SlowApi(1200, 0.04)
    deadline = Deadline.never(api.rig.clock)
    assert len(list(api.rig.client.iter_pages(deadline=deadline))) == 3
    assert deadline.remaining_s() == math.inf


def test_an_interrupted_listing_goes_on_with_its_size() -> None:
    """The cursor says how far down it had come."""
    api = SlowApi(700, 0.5)
    assert api.listed(api.rig.client, start=f"{ROUTE}?limit=20&page_token=100") == 600
    assert api.limits[0] == 20
    assert api.limits.count(500) == 0
