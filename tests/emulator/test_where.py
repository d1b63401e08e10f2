"""The ``where`` grammar: what each clause lets through, and what is refused."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.emulator import EmulatedAsset
from backlotfs.emulator.listing import BadListing, parse_where

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
