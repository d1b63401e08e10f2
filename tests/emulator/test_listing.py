# SPDX-License-Identifier: Apache-2.0
"""Lists: what a filter lets through, and pages that show every asset once, in order."""

from __future__ import annotations

import operator
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
    parse_where,
)

NIGHT = EmulatedAsset(
    "n" * 32, "Harbours at night", created_at=1_400_000_000, duration_ms=6506,
    description="it's dark", metadata={"shoot": "7", "a!b": "yes"}, label_ids=("Sports", "A/B"),
    extras={"time_restrictions": {"type": "range", "start_date": "2015-01-01T00:00:00Z"}},
)  # fmt: skip  # one record
PLAIN = EmulatedAsset("p" * 32, "Plain", asset_type="channel", status="paused", created_at=5)


def accepts(text: str, asset: EmulatedAsset = NIGHT) -> bool:
    """Whether ``text`` lets the asset through; its label ids serve as names."""
    return parse_where(text, label_names=lambda one: list(one.label_ids))(asset)


@pytest.mark.parametrize(
    "text",
    [
        "asset_type='video'",
        "asset_type = 'video' AND status = 'live'",
        "status='paused' OR asset_type='video'",
        "status='paused' AND asset_type='video' OR duration>6000",
        "status != 'paused'",
        "duration<=6506",
        "duration >= '6506'",
        f"embed_code IN ('x', '{'n' * 32}')",
        "labels INCLUDES 'Sports'",
        "labels INCLUDES 'A/B'",
        "metadata.shoot='7'",
        "metadata.a%21b = 'yes'",
        "created_at >= '2014-05-13T16:53:20Z'",
        "created_at < '2014-05-13T16:53:21+00:00'",
        "updated_at>'2014-01-01'",
        "time_restrictions.start_date<='2015-06-01T00:00:00Z'",
        "name='harbour NIGHT'",
        "name='the harbours'",
        "name != 'day'",
        "description = 'it\\'s dark'",
        "asset_type='video'and status='live'",
    ],
)
def test_lets_through(text: str) -> None:
    """Each form of the reference, true of the asset."""
    assert accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        "asset_type='channel'",
        "asset_type='video' AND status='paused'",
        "duration<6506",
        "labels INCLUDES 'sports'",
        "name='harbour day'",
        "metadata.shoot='8'",
        "metadata.other != '7'",
        "external_id != 'x'",
        "time_restrictions.end_date<='2015-06-01T00:00:00Z'",
        "embed_code IN ('x')",
        "created_at > '2014-05-13T16:53:20Z'",
    ],
)
def test_keeps_out(text: str) -> None:
    """Each form, false of the asset; what is null matches nothing, ``!=`` included."""
    assert not accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "size > 5",
        "status =",
        "status = live",
        "status 'live'",
        "duration < 'long'",
        "created_at > 'yesterday'",
        "labels = 'x'",
        "status = 'live",
        "status = 'live' AND",
        "status = 'live' status = 'live'",
        "(status = 'live')",
        "embed_code IN 'x'",
        "embed_code IN ('x' 'y')",
        "= 'live'",
        " ",
    ],
)
def test_refuses(text: str) -> None:
    """Whatever is outside the grammar is an error with a sentence, not an empty answer."""
    with pytest.raises(BadListing):
        accepts(text)


@given(
    name=st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    limit=st.integers(-5, 10),
    duration=st.integers(0, 10),
    spaces=st.sampled_from(["", " ", "  "]),
)
def test_numbers_compare_as_numbers(name: str, limit: int, duration: int, spaces: str) -> None:
    """Every operator on a number means what Python's does."""
    table = {
        "=": operator.eq, "!=": operator.ne, "<": operator.lt,
        "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    }  # fmt: skip  # a table
    asset = EmulatedAsset("d" * 32, "x", duration_ms=duration)
    expected = table[name](duration, limit)
    assert accepts(f"duration{spaces}{name}{spaces}{limit}", asset) is expected


@given(a=st.booleans(), b=st.booleans(), c=st.booleans())
def test_and_binds_tighter_than_or(a: bool, b: bool, c: bool) -> None:
    """``A OR B AND C`` is ``A OR (B AND C)``."""
    text = " {} ".join("duration=6506" if one else "duration=1" for one in (a, b, c))
    assert accepts(text.format("OR", "AND")) is (a or (b and c))


@given(text=st.text(max_size=30))
def test_never_fails_otherwise(text: str) -> None:
    """Any text is either a filter or a ``BadListing``."""
    try:
        parse_where(text, label_names=lambda _one: [])
    except BadListing:
        return


def test_other_asset() -> None:
    """The tests above are not true of everything."""
    assert not accepts("asset_type='video'", PLAIN)
    assert accepts("name='plains'", PLAIN)


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
