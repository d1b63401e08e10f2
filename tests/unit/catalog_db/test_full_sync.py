# SPDX-License-Identifier: Apache-2.0
"""The full walk: resumable, whole or not at all, and doubted when it finds nothing."""

from __future__ import annotations

import pytest

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db import assets, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.rows import EmptyListingDoubted, FullSyncCursor, inode_of
from backlotfs.catalog.db.sync import FullSync
from tests.fakes.clocks import ManualClock
from tests.unit.catalog_db.catalogs import OpenDb, apply, codes, made, probed, walk

DAY_S = 86_400


def test_pages_are_not_the_library_before_the_walk_is_finished(db: CatalogDb) -> None:
    """A reader sees the old library, then the new one."""
    FullSync(db).add([made("E1"), made("E2")], "/v2/assets?page_token=2")
    FullSync(db).add([made("E3")], None)
    assert list(db.read(assets.rows, "original")) == []
    result = FullSync(db).finish(doubt_empty=True)
    assert result.added == ("E1", "E2", "E3")
    assert codes(db) == {"E1", "E2", "E3"}
    assert FullSync(db).cursor() is None


def test_a_row_has_what_the_record_says(db: CatalogDb) -> None:
    """And of the source nothing yet."""
    walk(db, [made("E1", created=7, updated=9)])
    (row,) = db.read(assets.rows, "original")
    assert row[:7] == ("E1", inode_of("E1"), "", "video", "live", 7, 9)
    assert row[7:] == (-1, None, None, 0, 0, 0)
    assert db.read(assets.record, "E1") == made("E1", created=7, updated=9)
    assert db.read(assets.record, "E2") is None


def test_a_walk_goes_on_after_a_restart(db: CatalogDb, reopen: OpenDb, clock: ManualClock) -> None:
    """Pages and cursor were stored together."""
    FullSync(db).add([made("E1")], "/page2")
    FullSync(db).add([made("E2")], "/page3")
    started_at_s = clock.now()
    db.close()
    clock.advance(60)
    again = reopen()
    assert FullSync(again).cursor() == FullSyncCursor("/page3", started_at_s, 2)
    FullSync(again).add([made("E3")], None)
    assert FullSync(again).finish(doubt_empty=True).added == ("E1", "E2", "E3")


def test_an_old_walk_is_not_gone_on_with(db: CatalogDb, clock: ManualClock) -> None:
    """Its pages are gone with it: a new walk does not inherit them."""
    FullSync(db).add([made("E1")], "/page2")
    clock.advance(DAY_S + 1)
    assert FullSync(db).cursor() is None
    assert walk(db, [made("E2")]).added == ("E2",)


def test_a_walk_from_the_future_is_not_gone_on_with(db: CatalogDb, clock: ManualClock) -> None:
    """The clock was set back since: nobody knows how old it is."""
    FullSync(db).add([made("E1")], "/page2")
    clock.advance(-10)
    assert FullSync(db).cursor() is None


def test_a_walk_may_end_behind_a_page_that_promised_more(db: CatalogDb) -> None:
    """A server that answers 404 there has no more; only the caller knows."""
    walk(db, [made("E1"), made("E2")])
    FullSync(db).add([made("E1")], "/page2")
    assert FullSync(db).finish(doubt_empty=True).removed == ("E2",)


def test_finishing_twice_changes_nothing(db: CatalogDb) -> None:
    """No walk is not an empty walk: the second of two mounts comes too late, no more."""
    walk(db, [made("E1")])
    assert FullSync(db).finish(doubt_empty=False).is_empty
    assert codes(db) == {"E1"}


def test_a_walk_says_what_changed(db: CatalogDb) -> None:
    """Added, changed, touched (its time moved), removed; the rest is not mentioned."""
    walk(db, [made("same"), made("edited"), made("touched"), made("gone")])
    db.write(assets.save_sources, [probed(code) for code in ("same", "edited", "touched", "gone")])
    result = walk(
        db,
        [made("same"), made("edited", title="Other"), made("touched", updated=3000), made("new")],
    )
    assert result.added == ("new",)
    assert sorted(result.changed) == ["edited", "touched"]
    assert result.touched == ("touched",)
    assert result.removed == ("gone",)
    verified = {
        row.embed_code: (row.verified, row.size) for row in db.read(assets.rows, "original")
    }
    assert verified == {
        "same": (1, 5000),
        "edited": (1, 5000),
        "touched": (0, 5000),
        "new": (0, -1),
    }
    assert db.read(assets.record, "edited") == made("edited", title="Other")


def test_an_unchanged_library_has_no_new_generation(db: CatalogDb) -> None:
    """Other mounts have nothing to load then."""
    walk(db, [made("E1")])
    before = db.read(state.generation)
    result = walk(db, [made("E1")])
    assert result.is_empty
    assert result.generation == db.read(state.generation) == before


def test_an_empty_answer_is_doubted_once(db: CatalogDb) -> None:
    """The first of a row keeps everything, the second is believed."""
    walk(db, [made("E1")])
    with pytest.raises(EmptyListingDoubted):
        walk(db, [])
    assert codes(db) == {"E1"}
    assert FullSync(db).cursor() is None
    assert walk(db, []).removed == ("E1",)
    assert codes(db) == set()


def test_only_answers_in_a_row_count(db: CatalogDb) -> None:
    """A full one in between brings the doubt back, and so does a believed one."""
    for _ in range(2):
        walk(db, [made("E1")])
        with pytest.raises(EmptyListingDoubted):
            walk(db, [])
    walk(db, [])
    walk(db, [made("E1")])
    with pytest.raises(EmptyListingDoubted):
        walk(db, [])


def test_an_empty_answer_can_be_believed_at_once(db: CatalogDb) -> None:
    """When the caller knows better; and a library that was empty is not doubted at all."""
    assert walk(db, []).is_empty
    walk(db, [made("E1")])
    assert walk(db, [], doubt_empty=False).removed == ("E1",)


def test_of_two_records_of_one_asset_the_later_stays(db: CatalogDb) -> None:
    """A page may repeat an asset of another page."""
    FullSync(db).add([made("E1", updated=5, title="new")], "/page2")
    FullSync(db).add([made("E1", updated=4, title="old")], None)
    FullSync(db).finish(doubt_empty=True)
    assert db.read(assets.record, "E1") == made("E1", updated=5, title="new")


def test_what_came_during_a_walk_stays(db: CatalogDb, clock: ManualClock) -> None:
    """An upload the walk was past, an edit of an asset it had met, a deletion of another."""
    walk(db, [made("edited"), made("deleted"), made("first")])
    FullSync(db).add([made("edited", title="Before"), made("deleted"), made("first")], "/page2")
    apply(
        db,
        [made("uploaded"), made("edited", updated=3000, title="After")],
        [DeletedAsset("deleted", 9000)],
        synced_at_s=clock.now(),
    )
    FullSync(db).add([made("last")], None)
    result = FullSync(db).finish(doubt_empty=True)
    assert codes(db) == {"edited", "first", "uploaded", "last"}
    assert db.read(assets.record, "edited") == made("edited", updated=3000, title="After")
    assert (result.added, result.changed, result.removed) == (("last",), (), ())


def test_the_high_water_is_no_later_than_the_walk(db: CatalogDb, clock: ManualClock) -> None:
    """A late page may be newer than edits that the first pages missed."""
    started_at_s = int(clock.now())
    FullSync(db).add([made("E1", updated=started_at_s - 50)], "/page2")
    clock.advance(1000)
    FullSync(db).add([made("E2", updated=started_at_s + 900)], None)
    FullSync(db).finish(doubt_empty=True)
    assert db.read(state.sync_state).high_water_s == started_at_s
    walk(db, [made("E1", updated=70)])
    assert db.read(state.sync_state).high_water_s == 70


def test_an_abandoned_walk_leaves_nothing(db: CatalogDb) -> None:
    """The library stays, the pages do not."""
    walk(db, [made("E1")])
    FullSync(db).add([made("E2")], "/page2")
    FullSync(db).abandon()
    assert FullSync(db).cursor() is None
    assert walk(db, [made("E3")]).added == ("E3",)
