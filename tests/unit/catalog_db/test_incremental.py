"""Incremental answers: what changed, what was deleted, and how far the catalog follows."""

from __future__ import annotations

import pytest

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db import merge
from backlotfs.catalog.db.rows import SyncState
from backlotfs.catalog.db.store import CatalogStore
from tests.unit.api.manual_clock import ManualClock
from tests.unit.catalog_db.stores import OpenStore, codes, made, missing, probed, walk


def test_records_are_added_and_changed(store: CatalogStore) -> None:
    """The rest of the library stays."""
    walk(store, [made("E1"), made("E2")])
    result = store.apply([made("E2", updated=3000), made("E3")], [], synced_at_s=5000.0)
    assert (result.added, result.changed, result.touched) == (("E3",), ("E2",), ("E2",))
    assert codes(store) == {"E1", "E2", "E3"}


@pytest.mark.parametrize(
    ("deleted_at_s", "stays"), [(1999, True), (2000, False), (2001, False), (0, True)]
)
def test_a_deletion_is_believed_unless_the_record_is_later(
    store: CatalogStore, deleted_at_s: int, stays: bool
) -> None:
    """Made again under the same code, it is there; edited and deleted in one second, it is not."""
    walk(store, [made("E1", created=1000, updated=2000)])
    result = store.apply([], [DeletedAsset("E1", deleted_at_s)] * 2, synced_at_s=5000.0)
    assert result.removed == (() if stays else ("E1",))
    assert codes(store) == ({"E1"} if stays else set())


def test_a_deletion_is_held_against_the_record_that_came_with_it(store: CatalogStore) -> None:
    """The new record may be what proves that the asset lives."""
    walk(store, [made("E1", updated=2000)])
    store.apply([made("E1", updated=2500)], [DeletedAsset("E1", 2300)], synced_at_s=5000.0)
    assert codes(store) == {"E1"}


def test_a_deleted_asset_takes_all_that_was_known_with_it(store: CatalogStore) -> None:
    """Made again, it is a stranger."""
    walk(store, [made("E1")])
    store.save_sources([probed("E1")])
    store.apply([], [DeletedAsset("E1", 9000), DeletedAsset("E9", 9000)], synced_at_s=1.0)
    assert store.total_size() == 0
    store.apply([made("E1")], [], synced_at_s=1.0)
    assert [row.size for row in store.rows("original")] == [-1]


def test_a_touched_asset_keeps_its_size(store: CatalogStore) -> None:
    """It is no longer verified, and to be probed again; so is one that had no source."""
    walk(store, [made("E1"), made("E2")])
    store.save_sources([probed("E1"), missing("E2")])
    assert store.unsized(10) == store.unverified(10) == []
    store.apply([made("E1", updated=3000), made("E2", updated=3000)], [], synced_at_s=1.0)
    rows = {row.embed_code: row for row in store.rows("original")}
    assert (rows["E1"].size, rows["E1"].etag, rows["E1"].verified) == (5000, '"5000"', 0)
    assert store.unverified(10) == ["E1"]
    assert store.unsized(10) == ["E2"]


def test_the_state_follows(store: CatalogStore, clock: ManualClock, reopen: OpenStore) -> None:
    """Through answers and syncs, and it is there after a restart."""
    fresh = store.state()
    assert fresh == SyncState(fresh.generation, 0, 0, 0, 0, None, None)
    walk(store, [made("E1")])
    store.mark_synced(full=True)
    walked_at_s = clock.now()
    clock.advance(300)
    store.apply([made("E1", updated=3000)], [DeletedAsset("E7", 4000)], synced_at_s=clock.now())
    store.mark_synced(full=False, where_works=True)
    store.mark_synced(full=False)
    store.mark_lists_sources(True)
    store.close()
    assert reopen().state() == SyncState(
        fresh.generation + 2, walked_at_s + 300, walked_at_s, 3000, 4000, 1, 1
    )


def test_the_high_water_never_falls_back(store: CatalogStore) -> None:
    """An answer may hold nothing, or nothing new."""
    walk(store, [made("E1")])
    store.apply([made("E1", updated=3000)], [DeletedAsset("E7", 4000)], synced_at_s=9000.0)
    store.apply([made("E2", updated=2000)], [], synced_at_s=9001.0)
    state = store.state()
    assert (state.high_water_s, state.deleted_seen_s, state.synced_at_s) == (3000, 4000, 9001.0)


def test_a_record_from_the_future_hides_nothing(store: CatalogStore) -> None:
    """``updated_at`` is what a server says; the next sync still asks from now on."""
    store.apply([made("E1", updated=2**40)], [], synced_at_s=9000.5)
    assert store.state().high_water_s == 9000


def test_another_mount_is_told_what_changed(store: CatalogStore, reopen: OpenStore) -> None:
    """Rows that are new or differ, codes that are gone; nothing when nothing did."""
    walk(store, [made("E1"), made("E2"), made("E3")])
    other = reopen()
    seen = other.generation()
    assert other.rows_changed_since("original", seen) == ([], [])
    store.apply([made("E2", title="x")], [DeletedAsset("E3", 9000)], synced_at_s=1.0)
    store.save_sources([probed("E1")])
    changed = other.rows_changed_since("original", seen)
    assert changed is not None
    rows, removed = changed
    assert {row.embed_code: row.size for row in rows} == {"E1": 5000, "E2": -1}
    assert removed == ["E3"]


def test_an_asset_that_came_back_is_not_reported_as_gone(store: CatalogStore) -> None:
    """Or it would be taken out by whoever applies the removals last."""
    walk(store, [made("E1")])
    seen = store.generation()
    store.apply([], [DeletedAsset("E1", 9000)], synced_at_s=1.0)
    store.apply([made("E1")], [], synced_at_s=1.0)
    changed = store.rows_changed_since("original", seen)
    assert changed is not None
    assert ([row.embed_code for row in changed[0]], changed[1]) == (["E1"], [])


def test_who_was_away_too_long_loads_all(
    store: CatalogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deletions are not remembered for ever; a generation of another file says nothing either."""
    monkeypatch.setattr(merge, "KEPT_TOMBSTONES", 2)
    walk(store, [made(f"E{number}") for number in range(6)])
    first = store.generation()
    later = []
    for number in range(5):
        store.apply([], [DeletedAsset(f"E{number}", 9000)], synced_at_s=1.0)
        later.append(store.generation())
    assert store.rows_changed_since("original", first) is None
    assert store.rows_changed_since("original", later[2]) == ([], ["E3", "E4"])
    assert store.rows_changed_since("original", later[-1] + 1) is None
    assert store.rows_changed_since("original", 0) is None


def test_all_records_can_be_read(store: CatalogStore) -> None:
    """By embed code, in batches: more than one here."""
    wanted = [made(f"E{number:04}") for number in range(2500)]
    walk(store, reversed(wanted))
    assert list(store.records()) == wanted
