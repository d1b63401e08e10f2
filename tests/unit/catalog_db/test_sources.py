# SPDX-License-Identifier: Apache-2.0
"""Sources: what probes found out, what is left to probe, and the sums over it."""

from __future__ import annotations

import itertools
from dataclasses import replace

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db import assets, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.rows import SourceRecord
from tests.unit.catalog_db.catalogs import MODE, OpenDb, apply, made, missing, probed, walk


def test_what_a_probe_found_is_kept(db: CatalogDb, reopen: OpenDb) -> None:
    """A re-mount asks for no size that is known."""
    walk(db, [made("E1")])
    db.write(assets.save_sources, [probed("E1", 2**40)])
    db.close()
    again = reopen()
    (row,) = again.read(assets.rows, "original")
    assert row[7:] == (2**40, f'"{2**40}"', "Tue, 01 Mar 2016 21:49:25 GMT", 1_456_868_965, 1, 0)
    assert again.read(assets.to_probe, 10) == []


def test_only_news_is_a_change(db: CatalogDb) -> None:
    """A probe that confirms what was known wakes nobody, and one of a deleted asset neither."""
    walk(db, [made("E1")])
    db.write(assets.save_sources, [probed("E1")])
    before = db.read(state.generation)
    db.write(assets.save_sources, [probed("E1"), probed("gone")])
    db.write(assets.save_sources, [])
    assert db.read(state.generation) == before
    db.write(assets.save_sources, [probed("E1", verified=False)])
    assert db.read(state.generation) == before + 1


def test_the_newest_are_probed_first(db: CatalogDb) -> None:
    """Of some types only, where they are named."""
    walk(db, [made("old", created=1), made("new", created=3), made("mid", created=2)])
    assert db.read(assets.to_probe, 2) == ["new", "mid"]
    apply(db, [replace(made("new", created=3), asset_type="channel")])
    assert db.read(assets.to_probe, 1, types={"video", "audio"}) == ["mid"]


def test_a_table_says_the_same_of_what_is_left(db: CatalogDb) -> None:
    """In the same order, also of those that were made in the same second."""
    kinds = list(itertools.product([-1, 5], [False, True], [False, True]))
    walk(db, [made(f"E{number}", created=number // 3) for number in range(2 * len(kinds))])
    found = [
        SourceRecord(f"E{number}", size, None, None, 0, verified, missing)
        for number, (size, verified, missing) in enumerate([*kinds, *kinds])
    ]
    db.write(assets.save_sources, found)
    table = db.read(assets.rows, MODE)
    left = [list(map(table.code, positions)) for positions in table.to_probe]
    assert left[0] == ["E10", "E9", "E8", "E2", "E1", "E0"]
    assert left[1] == ["E13", "E12", "E5", "E4"]
    assert db.read(assets.to_probe, 99) == left[0] + left[1]


def test_the_sums_follow_every_change(db: CatalogDb) -> None:
    """Found, changed, missing, deleted."""
    walk(db, [made("E1"), made("E2"), made("E3")])
    assert (db.read(state.sized_counts), db.read(state.total_size)) == ((0, 0, 3), 0)
    db.write(assets.save_sources, [probed("E1", 100), probed("E2", 0), missing("E3")])
    assert (db.read(state.sized_counts), db.read(state.total_size)) == ((2, 1, 3), 100)
    db.write(assets.save_sources, [probed("E1", 30), probed("E3", 5), missing("E2")])
    assert (db.read(state.sized_counts), db.read(state.total_size)) == ((2, 1, 3), 35)
    apply(db, [], [DeletedAsset("E1", 9000)])
    assert (db.read(state.sized_counts), db.read(state.total_size)) == ((1, 1, 2), 5)
    walk(db, [], doubt_empty=False)
    assert (db.read(state.sized_counts), db.read(state.total_size)) == ((0, 0, 0), 0)


def test_a_source_without_headers_is_kept(db: CatalogDb) -> None:
    """Neither ETag nor Last-Modified: saved twice, it is no news."""
    walk(db, [made("E1")])
    bare = probed("E1")._replace(etag=None, last_modified=None)
    db.write(assets.save_sources, [bare])
    before = db.read(state.generation)
    db.write(assets.save_sources, [bare])
    assert db.read(state.generation) == before
    (row,) = db.read(assets.rows, "original")
    assert row.etag is None
