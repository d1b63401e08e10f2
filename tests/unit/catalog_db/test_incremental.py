# SPDX-License-Identifier: Apache-2.0
"""Incremental answers: what changed, what was deleted, and how far the catalog follows."""

from __future__ import annotations

import pytest

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db import assets, state, sync
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.rows import SyncState
from tests.fakes.clocks import ManualClock
from tests.unit.catalog_db.catalogs import OpenDb, apply, codes, made, missing, probed, walk


def test_records_are_added_and_changed(db: CatalogDb) -> None:
    """The rest of the library stays."""
    walk(db, [made("E1"), made("E2")])
    result = apply(db, [made("E2", updated=3000), made("E3")], [], synced_at_s=5000.0)
    assert (result.added, result.changed, result.touched) == (("E3",), ("E2",), ("E2",))
    assert codes(db) == {"E1", "E2", "E3"}


@pytest.mark.parametrize(
    ("deleted_at_s", "stays"), [(1999, True), (2000, False), (2001, False), (0, True)]
)
def test_a_deletion_is_believed_unless_the_record_is_later(
    db: CatalogDb, deleted_at_s: int, stays: bool
) -> None:
    """Made again under the same code, it is there; edited and deleted in one second, it is not."""
    walk(db, [made("E1", created=1000, updated=2000)])
    result = apply(db, [], [DeletedAsset("E1", deleted_at_s)] * 2, synced_at_s=5000.0)
    assert result.removed == (() if stays else ("E1",))
    assert codes(db) == ({"E1"} if stays else set())


def test_a_deletion_is_held_against_the_record_that_came_with_it(db: CatalogDb) -> None:
    """The new record may be what proves that the asset lives."""
    walk(db, [made("E1", updated=2000)])
    apply(db, [made("E1", updated=2500)], [DeletedAsset("E1", 2300)], synced_at_s=5000.0)
    assert codes(db) == {"E1"}


def test_a_deleted_asset_takes_all_that_was_known_with_it(db: CatalogDb) -> None:
    """Made again, it is a stranger."""
    walk(db, [made("E1")])
    db.write(assets.save_sources, [probed("E1")])
    apply(db, [], [DeletedAsset("E1", 9000), DeletedAsset("E9", 9000)])
    assert db.read(state.total_size) == 0
    apply(db, [made("E1")])
    assert [row.size for row in db.read(assets.rows, "original")] == [-1]


def test_a_touched_asset_keeps_its_size(db: CatalogDb) -> None:
    """It is no longer verified, and to be probed again; so is one that had no source."""
    walk(db, [made("E1"), made("E2")])
    db.write(assets.save_sources, [probed("E1"), missing("E2")])
    assert db.read(assets.to_probe, 10) == []
    apply(db, [made("E1", updated=3000), made("E2", updated=3000)])
    rows = {row.embed_code: row for row in db.read(assets.rows, "original")}
    assert (rows["E1"].size, rows["E1"].etag, rows["E1"].verified) == (5000, '"5000"', 0)
    assert db.read(assets.to_probe, 10) == ["E2", "E1"]


def test_the_state_follows(db: CatalogDb, clock: ManualClock, reopen: OpenDb) -> None:
    """Through answers and syncs, and it is there after a restart."""
    fresh = db.read(state.sync_state)
    assert fresh == SyncState(fresh.generation, 0, 0, 0, 0, None, None, 0)
    walk(db, [made("E1")])
    db.write(state.mark_synced, db.clock.now(), full=True)
    walked_at_s = clock.now()
    clock.advance(300)
    apply(db, [made("E1", updated=3000)], [DeletedAsset("E7", 4000)], synced_at_s=clock.now())
    db.write(state.mark_synced, db.clock.now(), full=False, where_works=True)
    db.write(state.mark_synced, db.clock.now(), full=False)
    db.write(state.mark_lists_sources, True)
    db.close()
    assert reopen().read(state.sync_state) == SyncState(
        fresh.generation + 2, walked_at_s + 300, walked_at_s, 3000, 4000, 1, 1, 0
    )


def test_the_high_water_never_falls_back(db: CatalogDb) -> None:
    """An answer may hold nothing, or nothing new."""
    walk(db, [made("E1")])
    apply(db, [made("E1", updated=3000)], [DeletedAsset("E7", 4000)], synced_at_s=9000.0)
    apply(db, [made("E2", updated=2000)], [], synced_at_s=9001.0)
    now = db.read(state.sync_state)
    assert (now.high_water_s, now.deleted_seen_s, now.synced_at_s) == (3000, 4000, 9001.0)


def test_a_record_from_the_future_hides_nothing(db: CatalogDb) -> None:
    """``updated_at`` is what a server says; the next sync still asks from now on."""
    apply(db, [made("E1", updated=2**40)], [], synced_at_s=9000.5)
    assert db.read(state.sync_state).high_water_s == 9000


def test_another_mount_is_told_what_changed(db: CatalogDb, reopen: OpenDb) -> None:
    """Rows that are new or differ, codes that are gone; nothing when nothing did."""
    walk(db, [made("E1"), made("E2"), made("E3")])
    other = reopen()
    seen = other.read(state.generation)
    nothing = other.read(assets.changed_since, "original", seen)
    assert nothing is not None
    assert (list(nothing[0]), nothing[1]) == ([], [])
    apply(db, [made("E2", title="x")], [DeletedAsset("E3", 9000)])
    db.write(assets.save_sources, [probed("E1")])
    changed = other.read(assets.changed_since, "original", seen)
    assert changed is not None
    rows, removed = changed
    assert {row.embed_code: row.size for row in rows} == {"E1": 5000, "E2": -1}
    assert removed == ["E3"]


def test_an_asset_that_came_back_is_not_reported_as_gone(db: CatalogDb) -> None:
    """Or it would be taken out by whoever applies the removals last."""
    walk(db, [made("E1")])
    seen = db.read(state.generation)
    apply(db, [], [DeletedAsset("E1", 9000)])
    apply(db, [made("E1")])
    changed = db.read(assets.changed_since, "original", seen)
    assert changed is not None
    assert ([row.embed_code for row in changed[0]], changed[1]) == (["E1"], [])


def test_who_was_away_too_long_loads_all(db: CatalogDb, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletions are not remembered for ever; a generation of another file says nothing either."""
    monkeypatch.setattr(sync, "KEPT_TOMBSTONES", 2)
    walk(db, [made(f"E{number}") for number in range(6)])
    first = db.read(state.generation)
    later = []
    for number in range(5):
        apply(db, [], [DeletedAsset(f"E{number}", 9000)])
        later.append(db.read(state.generation))
    assert db.read(assets.changed_since, "original", first) is None
    changed = db.read(assets.changed_since, "original", later[2])
    assert changed is not None
    assert (list(changed[0]), changed[1]) == ([], ["E3", "E4"])
    assert db.read(assets.changed_since, "original", later[-1] + 1) is None
    assert db.read(assets.changed_since, "original", 0) is None
