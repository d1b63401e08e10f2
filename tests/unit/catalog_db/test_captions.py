# SPDX-License-Identifier: Apache-2.0
"""Caption documents in the database: who is to be asked, what was found, for how long."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db import assets, captions, state
from backlotfs.catalog.db.captions import Caption, PendingCaption
from backlotfs.catalog.db.connection import CatalogDb
from tests.unit.catalog_db.catalogs import OpenDb, apply, made, missing, walk

BODY = b"WEBVTT\n\n" + b"00:01.000 --> 00:02.000\nHello\n\n" * 50


def unasked(db: CatalogDb) -> dict[str, PendingCaption]:
    """Who is to be asked, by embed code."""
    return {asked.embed_code: asked for asked in db.read(captions.pending, 100, [])}


def test_newest_first_and_in_pages(db: CatalogDb) -> None:
    """By ``created_at``; of the types that are wanted; not what has no source."""
    walk(db, [made(code, created=1000 + number) for number, code in enumerate("ABCDE")])
    db.write(assets.save_sources, [missing("C")])
    pages, after = [], None
    while page := db.read(captions.pending, 2, ["video"], after):
        pages.append([asked.embed_code for asked in page])
        after = page[-1]
    assert pages == [["E", "D"], ["B", "A"]]
    assert db.read(captions.pending, 9, ["audio"]) == []


def test_what_was_found(db: CatalogDb, reopen: OpenDb) -> None:
    """It is kept over restarts, byte for byte; "none" is kept too."""
    walk(db, [made("A"), made("B", updated=0)])
    asked = unasked(db)
    generation = db.read(state.generation)
    db.write(captions.save, asked["A"], "vtt", BODY)
    db.write(captions.save, asked["B"], None)
    again = reopen()
    assert unasked(again) == {}
    assert again.read(captions.all_captions) == {"A": Caption("vtt", len(BODY), 2000)}
    assert again.read(captions.document, "A") == (Caption("vtt", len(BODY), 2000), BODY)
    assert again.read(captions.document, "B") is None
    assert again.read(captions.document, "never heard of") is None
    assert again.read(state.generation) == generation, "no row of the library changed"


def test_a_touched_record_is_asked_again(db: CatalogDb) -> None:
    """Until then it has what it had, with the time of that."""
    walk(db, [made("A")])
    db.write(captions.save, unasked(db)["A"], "vtt", BODY)
    apply(db, [made("A", updated=3000)])
    assert db.read(captions.all_captions) == {"A": Caption("vtt", len(BODY), 2000)}
    db.write(captions.save, unasked(db)["A"], "srt", b"1")
    assert db.read(captions.document, "A") == (Caption("srt", 1, 3000), b"1")
    apply(db, [made("A", updated=4000)])
    db.write(captions.save, unasked(db)["A"], None)
    assert db.read(captions.all_captions) == {}
    assert unasked(db) == {}


def test_a_record_without_times(db: CatalogDb) -> None:
    """The time of its making stands in; it is asked once all the same."""
    walk(db, [made("A", updated=0, created=900)])
    db.write(captions.save, unasked(db)["A"], "vtt", BODY)
    assert db.read(captions.all_captions)["A"].mtime_s == 900
    assert unasked(db) == {}


def test_a_deleted_asset_takes_its_captions_along(db: CatalogDb) -> None:
    """Also the answer that comes too late; who has the code next is asked anew."""
    walk(db, [made("A"), made("B")])
    asked = unasked(db)
    db.write(captions.save, asked["A"], "vtt", BODY)
    apply(db, [], [DeletedAsset("A", 9000), DeletedAsset("B", 9000)])
    db.write(captions.save, asked["B"], "vtt", BODY)
    apply(db, [made("A"), made("B")])
    assert db.read(captions.all_captions) == {}
    assert set(unasked(db)) == {"A", "B"}


@pytest.mark.parametrize("damage", ["body = x'00'", "body = NULL", "size = size - 1", "size = 1"])
def test_a_damaged_document_is_never_shown(
    db: CatalogDb, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """The file is treated as the damaged file it is."""
    walk(db, [made("A")])
    db.write(captions.save, unasked(db)["A"], "vtt", BODY)
    assert db.path is not None
    with closing(sqlite3.connect(db.path)) as connection, connection:
        connection.execute(f"UPDATE caption SET {damage}")
    assert db.read(captions.document, "A") is None
    assert "set aside" in caplog.text
