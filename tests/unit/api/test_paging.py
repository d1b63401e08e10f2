# SPDX-License-Identifier: Apache-2.0
"""How many records of a listing are asked for, and how pages are walked."""

from __future__ import annotations

import itertools

import pytest
import requests

from backlotfs.api.client import ApiClient
from backlotfs.api.paging import PageSize, cursor_params
from backlotfs.api.signing import sign
from backlotfs.errors import AnswerTimedOut, DeadlineExceeded, NoSuchEntry, ProtocolViolation
from tests.fakes.api import API, SECRET, E, Reply, reply, said, scripted

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


def test_an_interrupted_listing_goes_on_with_its_size() -> None:
    """The cursor says how far down it had come."""
    api = SlowApi(700, 0.5)
    assert api.listed(api.rig.client, start=f"{ROUTE}?limit=20&page_token=100") == 600
    assert api.limits[0] == 20
    assert api.limits.count(500) == 0


def page(*codes: str, next_page: object = None) -> dict[str, object]:
    """A page of assets."""
    return {"items": [{"embed_code": code} for code in codes], "next_page": next_page}


def test_follows_relative_next_page_and_signs_each_request_anew() -> None:
    """The cursor's own parameters are sent back decoded, with a signature of their own."""
    cursor = f"{ROUTE}?include=metadata&limit=2&page_token=1357258836%3B{E}"
    rig = scripted(reply(page("a", "b", next_page=cursor)), reply({"items": [{"embed_code": "c"}]}))
    pages = rig.client.iter_pages(deadline=rig.deadline(), include="metadata", where="a='b'")
    assert [asset.embed_code for p in pages for asset in p.items] == ["a", "b", "c"]
    first, second = rig.adapter.params(0), rig.adapter.params(1)
    assert (first["limit"], first["include"], first["where"]) == ("500", "metadata", "a='b'")
    assert second["page_token"] == f"1357258836;{E}"
    assert "where" not in second
    for params in (first, second):
        signature = params.pop("signature")
        assert signature == sign(SECRET, "GET", ROUTE, params)


def test_the_page_limit_is_a_wish() -> None:
    """A server that caps the page lower is followed to the end."""
    steps = [reply(page("a", next_page=f"{ROUTE}?page_token=1")), reply(page("b"))]
    rig = scripted(*steps, page_limit=50)
    assert len(list(rig.client.iter_pages(deadline=rig.deadline()))) == 2
    assert rig.adapter.params(0)["limit"] == "50"


@pytest.mark.parametrize("cursor", [None, ""])
def test_null_and_empty_cursor_end_the_walk(cursor: object) -> None:
    """``null`` is not a page."""
    rig = scripted(reply(page("a", next_page=cursor)))
    assert len(list(rig.client.iter_pages(deadline=rig.deadline()))) == 1


def test_404_after_the_first_page_is_the_end() -> None:
    """A total that is an exact multiple of the limit ends so on old servers."""
    rig = scripted(reply(page("a", next_page=f"{ROUTE}?page_token=1")), said(404, "no page"))
    assert len(list(rig.client.iter_pages(deadline=rig.deadline()))) == 1


def test_404_on_the_first_page_is_an_error_and_on_a_resumed_one_the_end() -> None:
    """Only a cursor can be past the end."""
    rig = scripted(said(404, "no route"), said(404, "no page"))
    with pytest.raises(NoSuchEntry, match="no route"):
        list(rig.client.iter_pages(deadline=rig.deadline()))
    resumed = rig.client.iter_pages(deadline=rig.deadline(), start=f"{ROUTE}?page_token=1")
    assert list(resumed) == []


def test_start_resumes_at_a_cursor() -> None:
    """The cursor alone says what is asked for: filter and limit are in it."""
    rig = scripted(reply(page("z")))
    start = f"{ROUTE}?limit=7&page_token=9%3Bx&where=a%3D%27b%27"
    pages = list(rig.client.iter_pages(deadline=rig.deadline(), where="other", start=start))
    assert pages[0].items[0].embed_code == "z"
    assert rig.adapter.params()["where"] == "a='b'"
    assert rig.adapter.params()["limit"] == "7"


@pytest.mark.parametrize("resumed", [False, True])
def test_a_circle_of_cursors_is_found(resumed: bool) -> None:
    """A cursor that was followed before, however it is spelled, ends the walk with an error."""
    one, two = f"{ROUTE}?page_token=1&limit=2", f"{ROUTE}?page_token=2&limit=2"
    steps = [reply(page(next_page=two)), reply(page(next_page=f"{ROUTE}?limit=2&page_token=%31"))]
    if not resumed:
        steps.insert(0, reply(page(next_page=one)))
    rig = scripted(*steps)
    walk = rig.client.iter_pages(deadline=rig.deadline(), start=one if resumed else None)
    with pytest.raises(ProtocolViolation, match="circle"):
        list(walk)


@pytest.mark.parametrize(
    ("cursor", "params"),
    [
        ("https://elsewhere.example/v2/assets?page_token=1", {"page_token": "1"}),
        ("/gate/v2/assets?page_token=1", {"page_token": "1"}),
        ("/v2/assets?page_token=a+b%2Bc&empty=", {"page_token": "a b+c", "empty": ""}),
        ("/v2/assets?api_key=k&expires=1&signature=s&t=1", {"t": "1"}),
        ("/v2/assets?t=%FF", {"t": "\ufffd"}),
    ],
)
def test_cursor_params(cursor: str, params: dict[str, str]) -> None:
    """Only path and query count; credentials that it may hold do not."""
    assert cursor_params(cursor, ROUTE, "/gate") == params


@pytest.mark.parametrize(
    "cursor",
    [
        "/v2/labels?page_token=1",
        "/v2/assets/../labels?page_token=1",
        "http://[::1/v2/assets?t=1",
        "/v2/assets",
        "/v2/assets?api_key=k",
        "page_token=1",
        "/v2/assets?" + "&".join(f"p{n}=1" for n in range(101)),
    ],
)
def test_impossible_cursors(cursor: str) -> None:
    """A cursor to another route, or to nothing, is refused."""
    with pytest.raises(ProtocolViolation, match="next_page"):
        cursor_params(cursor, ROUTE)


def test_absolute_cursor_never_leaves_the_api_host() -> None:
    """The signature goes to the configured host only, whatever host a cursor names."""
    cursor = "https://evil.example/v2/assets?page_token=1"
    rig = scripted(reply(page(next_page=cursor)), reply(page("b")))
    assert len(list(rig.client.iter_pages(deadline=rig.deadline()))) == 2
    assert all(url.startswith(API + ROUTE) for url in rig.adapter.urls)


def test_prefix_of_a_gateway_is_sent_and_not_signed() -> None:
    """A base URL with a path keeps it in front of every route."""
    steps = [reply(page("a", next_page="/gate/v2/assets?t=1")), reply(page("b"))]
    rig = scripted(*steps, api_url=f"{API}/gate/")
    assert len(list(rig.client.iter_pages(deadline=rig.deadline()))) == 2
    assert rig.adapter.paths() == ["/gate/v2/assets"] * 2
    params = rig.adapter.params()
    assert params.pop("signature") == sign(SECRET, "GET", ROUTE, params)


def test_deleted_assets_are_walked_alike() -> None:
    """Deletions come in pages too."""
    cursor = "/v2/deleted_assets?page_token=1"
    rig = scripted(reply(page("a", next_page=cursor)), reply(page("b")))
    pages = rig.client.iter_deleted(deadline=rig.deadline())
    assert [item.embed_code for p in pages for item in p.items] == ["a", "b"]


def test_nothing_is_asked_before_the_first_page_is_wanted() -> None:
    """A walk that is dropped early costs only the pages that were taken."""
    rig = scripted(reply(page("a", next_page=f"{ROUTE}?page_token=1")))
    walk = rig.client.iter_pages(deadline=rig.deadline())
    assert rig.adapter.urls == []
    assert next(walk).items[0].embed_code == "a"
    assert len(rig.adapter.urls) == 1
