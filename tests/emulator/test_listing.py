"""Pages: a walk sees every asset once, in order, whatever the page size and the ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.emulator import EmulatedAsset
from backlotfs.emulator.listing import (
    BadListing,
    PastTheEnd,
    next_page_url,
    page_of,
    parse_limit,
    parse_order,
)

assets_strategy = st.lists(
    st.builds(
        EmulatedAsset,
        embed_code=st.text("aB_-9", min_size=3, max_size=3),
        title=st.sampled_from(["x", "y;z", "Z"]),
        created_at=st.integers(1, 4),
        duration_ms=st.integers(0, 2),
    ),
    unique_by=lambda asset: asset.embed_code,
    max_size=25,
)
Exact = Literal["absent", "token_then_404"]


def in_default_order(assets: list[EmulatedAsset]) -> list[EmulatedAsset]:
    """Newest first, then by embed code."""
    return sorted(assets, key=lambda one: (-one.created_at, one.embed_code))


def walk(
    assets: list[EmulatedAsset],
    orderby: str | None,
    limit: int,
    exact: Exact,
    accepts: Callable[[EmulatedAsset], bool] | None = None,
) -> list[EmulatedAsset]:
    """All pages together."""
    found: list[EmulatedAsset] = []
    token = None
    while True:
        try:
            page = page_of(
                in_default_order(assets),
                order=parse_order(orderby),
                accepts=accepts,
                limit=limit,
                token=token,
                exact_multiple=exact,
            )
        except PastTheEnd:
            return found
        assert len(page.assets) <= limit
        found += page.assets
        token = page.next_token
        if token is None:
            return found


@given(
    assets=assets_strategy,
    limit=st.integers(1, 7),
    exact=st.sampled_from(["absent", "token_then_404"]),
)
def test_default_order(assets: list[EmulatedAsset], limit: int, exact: Exact) -> None:
    """``created_at`` descending, then ``embed_code`` ascending; both ends of a walk."""
    assert walk(assets, None, limit, exact) == in_default_order(assets)


@given(
    assets=assets_strategy,
    limit=st.integers(1, 7),
    field=st.sampled_from(["name", "duration", "asset_type", "created_at", "updated_at"]),
    direction=st.sampled_from(["", " ascending", " DESCENDING"]),
)
def test_other_orders(assets: list[EmulatedAsset], limit: int, field: str, direction: str) -> None:
    """Every order pages without a gap or a repeat, by value, then by embed code."""
    values: dict[str, Callable[[EmulatedAsset], Any]] = {
        "name": lambda one: one.title.lower(),
        "duration": lambda one: one.duration_ms,
        "asset_type": lambda one: one.asset_type,
        "created_at": lambda one: one.created_at,
        "updated_at": lambda one: one.changed_at,
    }
    expected = sorted(assets, key=lambda one: one.embed_code)
    expected.sort(key=values[field], reverse="DESC" in direction)
    assert walk(assets, field + direction, limit, "absent") == expected


@given(assets=assets_strategy, limit=st.integers(1, 4))
def test_filtered(assets: list[EmulatedAsset], limit: int) -> None:
    """A filter thins the list out and changes nothing else."""
    expected = [one for one in in_default_order(assets) if one.duration_ms]
    assert walk(assets, None, limit, "absent", lambda one: one.duration_ms > 0) == expected


def test_exact_multiple() -> None:
    """The old service hands out a token that leads to nothing, the new one none."""
    assets = [EmulatedAsset(name * 3, name) for name in "abcd"]
    pages = {
        exact: page_of(
            assets, order=parse_order(None), accepts=None, limit=4, token=None, exact_multiple=exact
        )
        for exact in ("absent", "token_then_404")
    }
    assert pages["absent"].next_token is None
    assert pages["token_then_404"].next_token == "1356998400;ddd"


def test_next_page_keeps_everything_but_credentials() -> None:
    """Relative, parameters kept and encoded, ``;`` as %3B, no key, no signature, one token."""
    parameters = [
        ("include", "metadata"), ("api_key", "k"), ("where", "a='x y'"), ("page_token", "old"),
        ("signature", "s"), ("limit", "2"), ("expires", "5"),
    ]  # fmt: skip  # one request
    assert next_page_url("/v2/assets", parameters, "13;E_1") == (
        "/v2/assets?include=metadata&where=a%3D%27x%20y%27&limit=2&page_token=13%3BE_1"
    )


@pytest.mark.parametrize(("text", "expected"), [(None, 100), ("7", 7), ("500", 500), ("1000", 500)])
def test_limit(text: str | None, expected: int) -> None:
    """100 unless asked for, never more than the cap."""
    assert parse_limit(text, 500) == expected


@pytest.mark.parametrize("text", ["0", "-1", "many", ""])
def test_bad_limit(text: str) -> None:
    """A limit that is no number of records is an error."""
    with pytest.raises(BadListing):
        parse_limit(text, 500)


@pytest.mark.parametrize("text", ["size", "name sideways"])
def test_bad_order(text: str) -> None:
    """So is an unknown order."""
    with pytest.raises(BadListing):
        parse_order(text)


@pytest.mark.parametrize("token", ["", "x", "x;y"])
def test_bad_token(token: str) -> None:
    """So is a token made elsewhere."""
    with pytest.raises(BadListing):
        page_of(
            [],
            order=parse_order(None),
            accepts=None,
            limit=1,
            token=token,
            exact_multiple="absent",
        )
