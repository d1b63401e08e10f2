# SPDX-License-Identifier: Apache-2.0
"""Records come back from their documents as they went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.records import Asset, Label
from backlotfs.catalog.db.assets import (
    asset_of,
    documents_of,
    name_sources,
)
from backlotfs.catalog.db.rows import DamagedRecord
from tests.strategies import hostile_text

ids = st.text(alphabet="abc_-", min_size=1, max_size=8)
labels = st.builds(Label, ids, hostile_text, hostile_text, st.none() | ids)
assets = st.builds(
    Asset,
    embed_code=ids,
    title=hostile_text,
    original_file_name=st.none() | hostile_text,
    asset_type=st.sampled_from(["", "video", "ad"]),
    status=st.sampled_from(["", "live", "processing"]),
    created_at_s=st.integers(0, 2**40),
    updated_at_s=st.integers(0, 2**40),
    duration_ms=st.integers(0, 2**53),
    description=st.none() | hostile_text,
    external_id=st.none() | hostile_text,
    preview_image_url=st.none() | hostile_text,
    metadata=st.dictionaries(hostile_text, hostile_text, max_size=3),
    labels=st.none() | st.lists(labels, max_size=3).map(tuple),
)


def stored(asset: Asset) -> tuple[str, str, str, int, int, str, str | None]:
    """The record as a row of the catalog."""
    columns = asset.embed_code, asset.asset_type, asset.status
    return *columns, asset.created_at_s, asset.updated_at_s, *documents_of(asset)


@given(assets)
def test_a_record_survives(asset: Asset) -> None:
    """Whatever texts are in it, and its names can be had without the rest."""
    assert asset_of(stored(asset)) == asset
    assert name_sources("E", documents_of(asset)[0]) == (asset.original_file_name, asset.title)


@given(st.dictionaries(ids, ids, min_size=2, max_size=4))
def test_the_order_of_metadata_is_no_change(metadata: dict[str, str]) -> None:
    """Equal records have equal documents."""
    backwards = dict(reversed(metadata.items()))
    one, other = (
        Asset("E", "", None, "video", "live", 0, 0, 0, metadata=each)
        for each in (metadata, backwards)
    )
    assert documents_of(one) == documents_of(other)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null"])
def test_a_damaged_document_is_told(text: str) -> None:
    """As an error of the file, which gets it set aside."""
    with pytest.raises(DamagedRecord, match="malformed record of E"):
        asset_of(("E", "", "", 0, 0, text, None))
    with pytest.raises(DamagedRecord, match="malformed record of E"):
        name_sources("E", text)


def test_a_damaged_list_of_labels_is_told() -> None:
    """Likewise."""
    with pytest.raises(DamagedRecord):
        asset_of(("E", "", "", 0, 0, "{}", '[{"id": "x"}]'))
