# SPDX-License-Identifier: Apache-2.0
"""Names are unique, legal, stable and independent of the order of a listing."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.records import Asset
from backlotfs.config.settings import NameMode
from backlotfs.namespace.naming import MAX_NAME_BYTES, fit, legal_name, names_for
from tests.strategies import hostile_text, libraries


def assert_legal(name: str) -> None:
    """Fit for a directory entry of any Linux file system."""
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert "Cc" not in map(unicodedata.category, name), "no C0, DEL or C1"
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert unicodedata.is_normalized("NFC", name)


@given(libraries())
def test_unique_and_legal(assets: list[Asset]) -> None:
    """Every asset has a name, and no two the same."""
    names = names_for(NameMode.ORIGINAL, assets, {})
    assert names.keys() == {asset.embed_code for asset in assets}
    assert len(set(names.values())) == len(names)
    for name in names.values():
        assert_legal(name)


@given(assets=libraries(), data=st.data())
def test_independent_of_listing_order(assets: list[Asset], data: st.DataObject) -> None:
    """Two hosts that list the same library agree."""
    shuffled = data.draw(st.permutations(assets))
    assert names_for(NameMode.ORIGINAL, assets, {}) == names_for(NameMode.ORIGINAL, shuffled, {})


@given(assets=libraries(), data=st.data())
def test_given_names_stay(assets: list[Asset], data: st.DataObject) -> None:
    """Over any history of uploads and deletions."""
    names: dict[str, str] = {}
    subset = st.sets(st.sampled_from(assets)) if assets else st.just(set())
    for _ in range(data.draw(st.integers(1, 5))):
        present = data.draw(subset)
        before, names = names, names_for(NameMode.ORIGINAL, present, names)
        for code, name in names.items():
            assert name == before.get(code, name)
        assert len(set(names.values())) == len(present)


@given(text=hostile_text, suffix=st.sampled_from(["", "_", " [E1]", " [" + "e" * 128 + "]"]))
def test_fitted_names_are_legal(text: str, suffix: str) -> None:
    """With and without a suffix; an extension that was there is still there."""
    name = legal_name(text)
    if not name:
        return
    assert_legal(name)
    fitted = fit(name, suffix)
    assert_legal(fitted)
    assert suffix in fitted
    assert legal_name(name) == name, "a name that is legal is left alone"
