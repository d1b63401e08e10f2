"""Walking listings: cursors, ends, circles."""

from __future__ import annotations

import pytest

from backlotfs.api.paging import cursor_params
from backlotfs.api.signing import sign
from backlotfs.errors import NoSuchEntry, ProtocolViolation
from tests.unit.api.scripted import API, SECRET, E, reply, said, scripted

ROUTE = "/v2/assets"


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
