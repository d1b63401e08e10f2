"""Caption documents in the store: who is to be asked, what was found, for how long."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db.captions import Caption, PendingCaption
from backlotfs.catalog.db.store import CatalogStore
from tests.unit.catalog_db.stores import OpenStore, made, missing, walk

BODY = b"WEBVTT\n\n" + b"00:01.000 --> 00:02.000\nHello\n\n" * 50


def unasked(store: CatalogStore) -> dict[str, PendingCaption]:
    """Who is to be asked, by embed code."""
    return {asked.embed_code: asked for asked in store.captions.unasked(100, [])}


def test_newest_first_and_in_pages(store: CatalogStore) -> None:
    """By ``created_at``; of the types that are wanted; not what has no source."""
    walk(store, [made(code, created=1000 + number) for number, code in enumerate("ABCDE")])
    store.save_sources([missing("C")])
    pages, after = [], None
    while page := store.captions.unasked(2, ["video"], after):
        pages.append([asked.embed_code for asked in page])
        after = page[-1]
    assert pages == [["E", "D"], ["B", "A"]]
    assert store.captions.unasked(9, ["audio"]) == []


def test_what_was_found(store: CatalogStore, reopen: OpenStore) -> None:
    """It is kept over restarts, byte for byte; "none" is kept too."""
    walk(store, [made("A"), made("B", updated=0)])
    asked = unasked(store)
    generation = store.generation()
    store.captions.save(asked["A"], "vtt", BODY)
    store.captions.save(asked["B"], None)
    again = reopen()
    assert unasked(again) == {}
    assert again.captions.all() == {"A": Caption("vtt", len(BODY), 2000)}
    assert again.captions.document("A") == (Caption("vtt", len(BODY), 2000), BODY)
    assert again.captions.document("B") is None
    assert again.captions.document("never heard of") is None
    assert again.generation() == generation, "no row of the library changed"


def test_a_touched_record_is_asked_again(store: CatalogStore) -> None:
    """Until then it has what it had, with the time of that."""
    walk(store, [made("A")])
    store.captions.save(unasked(store)["A"], "vtt", BODY)
    store.apply([made("A", updated=3000)], [], synced_at_s=1.0)
    assert store.captions.all() == {"A": Caption("vtt", len(BODY), 2000)}
    store.captions.save(unasked(store)["A"], "srt", b"1")
    assert store.captions.document("A") == (Caption("srt", 1, 3000), b"1")
    store.apply([made("A", updated=4000)], [], synced_at_s=1.0)
    store.captions.save(unasked(store)["A"], None)
    assert store.captions.all() == {}
    assert unasked(store) == {}


def test_a_record_without_times(store: CatalogStore) -> None:
    """The time of its making stands in; it is asked once all the same."""
    walk(store, [made("A", updated=0, created=900)])
    store.captions.save(unasked(store)["A"], "vtt", BODY)
    assert store.captions.all()["A"].mtime_s == 900
    assert unasked(store) == {}


def test_a_deleted_asset_takes_its_captions_along(store: CatalogStore) -> None:
    """Also the answer that comes too late; who has the code next is asked anew."""
    walk(store, [made("A"), made("B")])
    asked = unasked(store)
    store.captions.save(asked["A"], "vtt", BODY)
    store.apply([], [DeletedAsset("A", 9000), DeletedAsset("B", 9000)], synced_at_s=1.0)
    store.captions.save(asked["B"], "vtt", BODY)
    store.apply([made("A"), made("B")], [], synced_at_s=1.0)
    assert store.captions.all() == {}
    assert set(unasked(store)) == {"A", "B"}


@pytest.mark.parametrize("damage", ["body = x'00'", "body = NULL", "size = size - 1", "size = 1"])
def test_a_damaged_document_is_never_shown(
    store: CatalogStore, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """The file is treated as the damaged file it is."""
    walk(store, [made("A")])
    store.captions.save(unasked(store)["A"], "vtt", BODY)
    assert store.path is not None
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(f"UPDATE caption SET {damage}")
    assert store.captions.document("A") is None
    assert "set aside" in caplog.text
