# SPDX-License-Identifier: Apache-2.0
"""A saved listing gives what the rows would give; any history of it is in `test_history`."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from unittest import mock

import pytest

from backlotfs.catalog.db import assets, saved_listing, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.table import AssetTable
from tests.unit.catalog_db.catalogs import MODE, apply, file_names, give_names, made, probed, walk

TYPES = ("audio", "video")


@pytest.fixture
def saved(db: CatalogDb) -> CatalogDb:
    """A catalog with a saved listing of twenty assets."""
    walk(db, [made(f"E{number}") for number in range(20)])
    give_names(db, MODE, file_names)
    save(db)
    return db


def save(db: CatalogDb, table: AssetTable | None = None) -> None:
    """What a mount does at its end."""
    found = db.read(assets.rows, MODE, TYPES) if table is None else table
    view = saved_listing.view(MODE, TYPES, ())
    db.write(saved_listing.save, view, db.read(state.generation), found)


def sizes(db: CatalogDb, mode: str = MODE) -> tuple[dict[str, int], bool]:
    """What is read, and whether the saved listing was used."""
    with mock.patch.object(saved_listing, "load", wraps=saved_listing.load) as load:
        found = db.read(assets.rows, mode, TYPES)
    return {row.embed_code: row.size for row in found}, load.called


def test_few_changes_are_added(saved: CatalogDb) -> None:
    """Assets that are new, changed, gone, or of another type now."""
    saved.write(assets.save_sources, [probed("E1", 7)])
    apply(saved, [made("New")])
    expected = {f"E{number}": -1 for number in range(20)} | {"E1": 7, "New": -1}
    assert sizes(saved) == (expected, True)
    save(saved)
    apply(saved, [replace(made("E2", updated=3000), asset_type="channel")])
    del expected["E2"]
    assert sizes(saved) == (expected, True)


def test_many_changes(saved: CatalogDb) -> None:
    """All rows are read: that takes less time than to change the saved ones."""
    saved.write(assets.save_sources, [probed(f"E{number}", 7) for number in range(10)])
    found, used = sizes(saved)
    assert not used
    assert list(found.values()) == [7] * 10 + [-1] * 10


def test_another_view(saved: CatalogDb) -> None:
    """Of other names it says nothing."""
    assert sizes(saved, "portable")[1] is False


def test_a_damaged_one_is_not_used(saved: CatalogDb) -> None:
    """One bit is enough. The rows are read, and the catalog stays."""

    def damage(connection: sqlite3.Connection, part: int) -> None:
        find = "SELECT body FROM saved_listing WHERE position = ?"
        (body,) = connection.execute(find, (part,)).fetchone()
        other = bytes([body[0] ^ 1]) + body[1:]
        connection.execute("UPDATE saved_listing SET body = ? WHERE position = ?", (other, part))

    expected = list(saved.read(assets.rows, MODE, TYPES))
    assert sizes(saved)[1]
    for part in range(1, 11):
        saved.write(damage, part)
        assert list(saved.read(assets.rows, MODE, TYPES)) == expected
        saved.write(damage, part)  # whole again
    assert sizes(saved)[1]


def test_it_replaces_the_last_one(saved: CatalogDb) -> None:
    """However often a mount ends, there is one."""
    apply(saved, [made("New")])
    save(saved)
    save(saved)
    found, used = sizes(saved)
    assert used
    assert "New" in found
