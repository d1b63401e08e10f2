# SPDX-License-Identifier: Apache-2.0
"""The label routes over real sockets."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from backlotfs.emulator import Emulator
from backlotfs.emulator.api import split_full_paths
from tests.emulator.conftest import BARE, CLIP
from tests.emulator.probe import call

SPORTS, RACING, SECOND_SPORTS, ODD = "1" * 32, "2" * 32, "3" * 32, "4" * 32


def ids(emulator: Emulator, path: str, **values: str) -> list[str]:
    """Ids in the ``items`` of an answer."""
    return [label["id"] for label in call(emulator, path, **values).json["items"]]


def test_all_labels(emulator: Emulator) -> None:
    """The whole account by name; equal names side by side are legal; ``is_root`` thins out."""
    assert ids(emulator, "/v2/labels") == [ODD, RACING, SPORTS, SECOND_SPORTS]
    assert ids(emulator, "/v2/labels", is_root="true") == [ODD, SPORTS, SECOND_SPORTS]


def test_one_label(emulator: Emulator) -> None:
    """The label object, plus how many assets carry it."""
    assert call(emulator, f"/v2/labels/{RACING}").json == {
        "id": RACING,
        "name": "Racing",
        "full_name": "/Sports/Racing",
        "parent_id": SPORTS,
        "asset_count": 1,
    }


def test_children(emulator: Emulator) -> None:
    """Direct children only."""
    assert ids(emulator, f"/v2/labels/{SPORTS}/children") == [RACING]
    assert ids(emulator, f"/v2/labels/{RACING}/children") == []


def test_assets_of_a_label(emulator: Emulator) -> None:
    """Its own, not those of its children; paged and filtered like the list."""
    found = call(emulator, f"/v2/labels/{RACING}/assets").json["items"]
    assert [one["embed_code"] for one in found] == [CLIP]
    assert call(emulator, f"/v2/labels/{SPORTS}/assets").json == {"items": []}
    other = call(emulator, f"/v2/labels/{RACING}/assets", where="status='paused'")
    assert other.json == {"items": []}


def test_labels_of_an_asset(emulator: Emulator) -> None:
    """Several, or none."""
    assert ids(emulator, f"/v2/assets/{CLIP}/labels") == [ODD, RACING]
    assert ids(emulator, f"/v2/assets/{BARE}/labels") == []


def test_by_full_path(emulator: Emulator) -> None:
    """Every label of the path, also two; ``~`` keeps a slash or a comma in a name."""
    assert ids(emulator, "/v2/labels/by_full_path/Sports/Racing") == [RACING]
    assert ids(emulator, "/v2/labels/by_full_path/Sports") == [SPORTS, SECOND_SPORTS]
    escaped = quote("A~/B~, C,Sports/Racing")
    assert ids(emulator, f"/v2/labels/by_full_path/{escaped}") == [ODD, RACING]


def test_unknown_full_path(emulator: Emulator) -> None:
    """400, not 404, and the paths that are missing."""
    reply = call(emulator, "/v2/labels/by_full_path/Sports,None")
    assert reply.status == 400
    assert reply.json["missing_labels"] == ["/None"]


@pytest.mark.parametrize("tail", ["", "/children", "/assets"])
def test_unknown_label(emulator: Emulator, tail: str) -> None:
    """404 for an id that is no label's."""
    assert call(emulator, f"/v2/labels/{'0' * 32}{tail}").status == 404


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b,c", [["a", "b"], ["c"]]),
        ("/a/b", [["a", "b"]]),
        ("a~~b~/c~,d", [["a~b/c,d"]]),
        (",", []),
        ("a~", [["a~"]]),
    ],
)
def test_split(text: str, expected: list[list[str]]) -> None:
    """Names, paths and escapes of a ``by_full_path`` URL."""
    assert split_full_paths(text) == expected
