# SPDX-License-Identifier: Apache-2.0
"""The API side over real sockets, checked against the reference with the standard library."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from backlotfs.emulator import EmulatedAsset, Emulator, EmulatorSettings, Library
from tests.emulator.conftest import BARE, CLIP, CLIP_SIZE, EMPTY, HUGE, WITHHELD
from tests.emulator.probe import (
    call,
    source_entry,
    walk,
)
from tests.fakes.clocks import ManualClock


def codes(emulator: Emulator, **values: str) -> list[str]:
    """Embed codes of one page of the list."""
    return [item["embed_code"] for item in call(emulator, "/v2/assets", **values).json["items"]]


def test_default_order(emulator: Emulator) -> None:
    """Newest first; within one second by embed code."""
    assert codes(emulator) == [HUGE, CLIP, EMPTY, WITHHELD, BARE]


def test_walk_by_next_page(emulator: Emulator) -> None:
    """Following ``next_page`` as it stands sees everything; the last page has no such key."""
    pages = walk(emulator, "/v2/assets", limit="2", include="metadata")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert all("metadata" in item for page in pages for item in page)


def test_next_page_form(emulator: Emulator) -> None:
    """Relative, the parameters kept, the token's ``;`` as %3B, no credentials."""
    reply = call(emulator, "/v2/assets", limit="2", include="metadata")
    token = f"1400000000%3B{CLIP}"
    assert reply.json["next_page"] == f"/v2/assets?limit=2&include=metadata&page_token={token}"


def test_exact_multiple_of_2016(library: Library) -> None:
    """The old service points past the end, and answers 404 there."""
    with Emulator(library, EmulatorSettings(exact_multiple="token_then_404")) as old:
        first = call(old, "/v2/assets", limit="5")
        token = first.json["next_page"].rpartition("page_token=")[2].replace("%3B", ";")
        assert call(old, "/v2/assets", limit="5", page_token=token).status == 404


def test_exact_multiple_of_later(emulator: Emulator) -> None:
    """The newer one says nothing."""
    assert call(emulator, "/v2/assets", limit="5").json.keys() == {"items"}


def test_empty_result(emulator: Emulator) -> None:
    """Exactly this."""
    assert call(emulator, "/v2/assets", where="status='error'").body == b'{"items":[]}'


def test_page_cap(library: Library) -> None:
    """A server may give less than was asked for."""
    with Emulator(library, EmulatorSettings(page_cap=2)) as capped:
        assert len(codes(capped, limit="500")) == 2


def test_where_and_order(emulator: Emulator) -> None:
    """Filter and order hold together and across pages."""
    assert codes(emulator, where="asset_type='channel'") == [BARE]
    assert codes(emulator, where="labels INCLUDES 'Racing'") == [CLIP]
    pages = walk(emulator, "/v2/assets", orderby="created_at ascending", limit="2")
    found = [item["embed_code"] for page in pages for item in page]
    assert found == [BARE, WITHHELD, CLIP, EMPTY, HUGE]


@pytest.mark.parametrize(
    "values",
    [{"where": "size=5"}, {"orderby": "size"}, {"limit": "0"}, {"page_token": "x"}],
)
def test_bad_values(emulator: Emulator, values: dict[str, str]) -> None:
    """400 with a message."""
    reply = call(emulator, "/v2/assets", **values)
    assert reply.status == 400
    assert isinstance(reply.json["message"], str)


def test_server_without_where(library: Library) -> None:
    """The Video Cloud adapter ignored filter and order."""
    with Emulator(library, EmulatorSettings(supports_where=False)) as adapter:
        assert len(codes(adapter, where="status='error'", orderby="size")) == 5


def test_asset_record(emulator: Emulator) -> None:
    """The fields of section 4, no size anywhere; metadata and labels only when asked for."""
    record = call(emulator, f"/v2/assets/{CLIP}").json
    assert record["original_file_name"] == "harbour take#2.mov"
    assert record["created_at"] == "2014-05-13T16:53:20Z"
    assert record["duration"] == 61_583
    assert not {"size", "file_size", "metadata", "labels", "checksum"} & record.keys()
    full = call(emulator, f"/v2/assets/{CLIP}", include="metadata,labels").json
    assert full["metadata"] == {"shoot": "7", "a!b": "yes"}
    assert [label["name"] for label in full["labels"]] == ["Racing", "A/B, C"]


def test_external_id(emulator: Emulator) -> None:
    """An asset answers to the customer's id too, slash and all."""
    path = f"/v2/assets/{quote('customer/7', safe='')}"
    assert call(emulator, path).json["embed_code"] == CLIP


def test_no_such_asset(emulator: Emulator) -> None:
    """404 with the service's text; an unknown route is a 404 too."""
    reply = call(emulator, "/v2/assets/nothing/streams")
    assert reply.status == 404
    assert reply.json == {"message": "No asset exists with the id nothing."}
    assert call(emulator, "/v2/teapots").status == 404


def test_odd_names_survive(library: Library) -> None:
    """Any character of a name goes through JSON unharmed."""
    names = ["", "a/b", "C:\\dir\\x.mov", "a\nb", " lead", ".dot", "é" * 300, "Ω#?%", "A.MOV"]
    for index, name in enumerate(names):
        library.add(EmulatedAsset(f"{index:032d}", name, name))
    with Emulator(library) as emulator:
        items = call(emulator, "/v2/assets").json["items"]
        found = {item["embed_code"]: item["original_file_name"] for item in items}
        assert [found[f"{index:032d}"] for index in range(len(names))] == names


def test_streams_of_2017(emulator: Emulator) -> None:
    """A bare array of native types, one of them the source, with a signed URL."""
    entries = call(emulator, f"/v2/assets/{CLIP}/streams").json
    assert [entry["is_source"] for entry in entries] == [True, False, False]
    assert entries[0]["file_size"] == CLIP_SIZE
    assert entries[0]["muxing_format"] == "NA"
    shape = rf"{emulator.api_url}/{CLIP}%2F0{{13}}-0000000700000\?Signature=[^&]+&Expires=\d+&"
    assert re.fullmatch(shape + "AWSAccessKeyId=[A-Z0-9]+&", entries[0]["url"])


def test_streams_of_2013(library: Library) -> None:
    """Strings everywhere, and no player_id in the record."""
    library.edit(CLIP, source_position=2)
    with Emulator(library, EmulatorSettings(dialect="2013")) as old:
        entries = call(old, f"/v2/assets/{CLIP}/streams").json
        assert [entry["is_source"] for entry in entries] == ["false", "false", "true"]
        assert all(isinstance(value, str) for value in entries[2].values())
        assert entries[2]["file_size"] == str(CLIP_SIZE)
        assert "player_id" not in call(old, f"/v2/assets/{CLIP}").json


def test_streams_without_source(library: Library) -> None:
    """No source entry, a null URL with a size, or an empty array: all can be had."""
    library.add(EmulatedAsset("v" * 32, "no source"))
    with Emulator(library) as emulator:
        entries = call(emulator, f"/v2/assets/{'v' * 32}/streams").json
        assert [entry["is_source"] for entry in entries] == [False, False]
        assert source_entry(emulator, WITHHELD)["url"] is None
        assert source_entry(emulator, WITHHELD)["file_size"] == 123_456_789
        assert call(emulator, f"/v2/assets/{BARE}/streams").json == []


def test_source_file_info(emulator: Emulator) -> None:
    """Five fields; a positive size with a null URL and a null name is a known combination."""
    info = call(emulator, f"/v2/assets/{CLIP}/source_file_info").json
    assert info.pop("source_file_url").startswith(f"{emulator.api_url}/{CLIP}%2F")
    assert info == {
        "original_file_name": "harbour take#2.mov",
        "file_size": CLIP_SIZE,
        "reconstituted_source_file_available": True,
        "uploaded_by_client": None,
    }
    withheld = call(emulator, f"/v2/assets/{WITHHELD}/source_file_info").json
    assert (withheld["source_file_url"], withheld["file_size"]) == (None, 123_456_789)


def test_side_cars(emulator: Emulator) -> None:
    """The small resources beside an asset, in their shapes."""
    assert call(emulator, f"/v2/assets/{CLIP}/metadata").json == {"shoot": "7", "a!b": "yes"}
    assert call(emulator, f"/v2/assets/{BARE}/lineup").json == [CLIP, EMPTY]
    assert call(emulator, f"/v2/assets/{CLIP}/generated_preview_images").json == []
    assert call(emulator, f"/v2/assets/{CLIP}/preview_image_files").json == {"items": []}
    assert call(emulator, f"/v2/assets/{CLIP}/closed_captions").status == 404
    emulator.library.edit(CLIP, extras={"/closed_captions": "<tt/>"})
    assert call(emulator, f"/v2/assets/{CLIP}/closed_captions").body == b"<tt/>"
    emulator.library.edit(CLIP, extras={"/closed_captions": b"\xff\xfe<\0"})
    assert call(emulator, f"/v2/assets/{CLIP}/closed_captions").body == b"\xff\xfe<\0"


def test_replacement_shows(emulator: Emulator, clock: ManualClock) -> None:
    """Same embed code; size, key and updated_at move."""
    before = call(emulator, f"/v2/assets/{CLIP}").json["updated_at"]
    emulator.library.replace(CLIP, size=12)
    entry = source_entry(emulator, CLIP)
    assert entry["file_size"] == 12
    assert "%2F0000000000000-0000000000011?" in entry["url"]
    assert call(emulator, f"/v2/assets/{CLIP}").json["updated_at"] > before
    assert codes(emulator, where="updated_at>'2017-01-01T00:00:00Z'") == [CLIP]


def test_deletion_shows_in_one_place(emulator: Emulator, clock: ManualClock) -> None:
    """Gone from the list and by id; kept in ``deleted_assets``, the newest first, in pages."""
    for code in (CLIP, EMPTY, HUGE):
        emulator.library.delete(code)
        clock.advance(1)
    assert codes(emulator) == [WITHHELD, BARE]
    assert call(emulator, f"/v2/assets/{CLIP}").status == 404
    pages = walk(emulator, "/v2/deleted_assets", limit="2")
    assert [[one["embed_code"] for one in page] for page in pages] == [[HUGE, EMPTY], [CLIP]]
    assert pages[1][0]["duration"] == "61583"
    assert pages[1][0]["deleted_at"] == "2017-07-14T02:40:00Z"
    assert call(emulator, "/v2/deleted_assets", page_token="x").status == 400
