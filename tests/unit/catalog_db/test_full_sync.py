"""The full walk: resumable, whole or not at all, and doubted when it finds nothing."""

from __future__ import annotations

import pytest

from backlotfs.api.records import DeletedAsset
from backlotfs.catalog.db.rows import EmptyWalkDoubted, WalkCursor
from backlotfs.catalog.db.store import CatalogStore
from tests.unit.api.manual_clock import ManualClock
from tests.unit.catalog_db.stores import OpenStore, codes, inode_of, made, probed, walk

DAY_S = 86_400


def test_pages_are_not_the_library_before_the_walk_is_finished(store: CatalogStore) -> None:
    """A reader sees the old library, then the new one."""
    store.walk_add([made("E1"), made("E2")], "/v2/assets?page_token=2")
    store.walk_add([made("E3")], None)
    assert store.rows("original") == []
    result = store.walk_finish(doubt_empty=True)
    assert result.added == ("E1", "E2", "E3")
    assert codes(store) == {"E1", "E2", "E3"}
    assert store.walk_cursor() is None


def test_a_row_has_what_the_record_says(store: CatalogStore) -> None:
    """And of the source nothing yet."""
    walk(store, [made("E1", created=7, updated=9)])
    (row,) = store.rows("original")
    assert row[:7] == ("E1", inode_of("E1"), "", "video", "live", 7, 9)
    assert row[7:] == (-1, None, None, 0, 0, 0)
    assert store.record("E1") == made("E1", created=7, updated=9)
    assert store.record("E2") is None


def test_a_walk_goes_on_after_a_restart(
    store: CatalogStore, reopen: OpenStore, clock: ManualClock
) -> None:
    """Pages and cursor were stored together."""
    store.walk_add([made("E1")], "/page2")
    store.walk_add([made("E2")], "/page3")
    started_at_s = clock.now()
    store.close()
    clock.advance(60)
    again = reopen()
    assert again.walk_cursor() == WalkCursor("/page3", started_at_s, 2)
    again.walk_add([made("E3")], None)
    assert again.walk_finish(doubt_empty=True).added == ("E1", "E2", "E3")


def test_an_old_walk_is_not_gone_on_with(store: CatalogStore, clock: ManualClock) -> None:
    """Its pages are gone with it: a new walk does not inherit them."""
    store.walk_add([made("E1")], "/page2")
    clock.advance(DAY_S + 1)
    assert store.walk_cursor() is None
    assert walk(store, [made("E2")]).added == ("E2",)


def test_a_walk_from_the_future_is_not_gone_on_with(
    store: CatalogStore, clock: ManualClock
) -> None:
    """The clock was set back since: nobody knows how old it is."""
    store.walk_add([made("E1")], "/page2")
    clock.advance(-10)
    assert store.walk_cursor() is None


def test_a_walk_may_end_behind_a_page_that_promised_more(store: CatalogStore) -> None:
    """A server that answers 404 there has no more; only the caller knows."""
    walk(store, [made("E1"), made("E2")])
    store.walk_add([made("E1")], "/page2")
    assert store.walk_finish(doubt_empty=True).removed == ("E2",)


def test_finishing_twice_changes_nothing(store: CatalogStore) -> None:
    """No walk is not an empty walk: the second of two mounts comes too late, no more."""
    walk(store, [made("E1")])
    assert store.walk_finish(doubt_empty=False).is_empty
    assert codes(store) == {"E1"}


def test_a_walk_says_what_changed(store: CatalogStore) -> None:
    """Added, changed, touched (its time moved), removed; the rest is not mentioned."""
    walk(store, [made("same"), made("edited"), made("touched"), made("gone")])
    store.save_sources([probed(code) for code in ("same", "edited", "touched", "gone")])
    result = walk(
        store,
        [made("same"), made("edited", title="Other"), made("touched", updated=3000), made("new")],
    )
    assert result.added == ("new",)
    assert sorted(result.changed) == ["edited", "touched"]
    assert result.touched == ("touched",)
    assert result.removed == ("gone",)
    verified = {row.embed_code: (row.verified, row.size) for row in store.rows("original")}
    assert verified == {
        "same": (1, 5000),
        "edited": (1, 5000),
        "touched": (0, 5000),
        "new": (0, -1),
    }
    assert store.record("edited") == made("edited", title="Other")


def test_an_unchanged_library_has_no_new_generation(store: CatalogStore) -> None:
    """Other mounts have nothing to load then."""
    walk(store, [made("E1")])
    before = store.generation()
    result = walk(store, [made("E1")])
    assert result.is_empty
    assert result.generation == store.generation() == before


def test_an_empty_answer_is_doubted_once(store: CatalogStore) -> None:
    """The first of a row keeps everything, the second is believed."""
    walk(store, [made("E1")])
    with pytest.raises(EmptyWalkDoubted):
        walk(store, [])
    assert codes(store) == {"E1"}
    assert store.walk_cursor() is None
    assert walk(store, []).removed == ("E1",)
    assert codes(store) == set()


def test_only_answers_in_a_row_count(store: CatalogStore) -> None:
    """A full one in between brings the doubt back, and so does a believed one."""
    for _ in range(2):
        walk(store, [made("E1")])
        with pytest.raises(EmptyWalkDoubted):
            walk(store, [])
    walk(store, [])
    walk(store, [made("E1")])
    with pytest.raises(EmptyWalkDoubted):
        walk(store, [])


def test_an_empty_answer_can_be_believed_at_once(store: CatalogStore) -> None:
    """When the caller knows better; and a library that was empty is not doubted at all."""
    assert walk(store, []).is_empty
    walk(store, [made("E1")])
    assert walk(store, [], doubt_empty=False).removed == ("E1",)


def test_of_two_records_of_one_asset_the_later_stays(store: CatalogStore) -> None:
    """A page may repeat an asset of another page."""
    store.walk_add([made("E1", updated=5, title="new")], "/page2")
    store.walk_add([made("E1", updated=4, title="old")], None)
    store.walk_finish(doubt_empty=True)
    assert store.record("E1") == made("E1", updated=5, title="new")


def test_what_came_during_a_walk_stays(store: CatalogStore, clock: ManualClock) -> None:
    """An upload the walk was past, an edit of an asset it had met, a deletion of another."""
    walk(store, [made("edited"), made("deleted"), made("first")])
    store.walk_add([made("edited", title="Before"), made("deleted"), made("first")], "/page2")
    store.apply(
        [made("uploaded"), made("edited", updated=3000, title="After")],
        [DeletedAsset("deleted", 9000)],
        synced_at_s=clock.now(),
    )
    store.walk_add([made("last")], None)
    result = store.walk_finish(doubt_empty=True)
    assert codes(store) == {"edited", "first", "uploaded", "last"}
    assert store.record("edited") == made("edited", updated=3000, title="After")
    assert (result.added, result.changed, result.removed) == (("last",), (), ())


def test_the_high_water_is_no_later_than_the_walk(store: CatalogStore, clock: ManualClock) -> None:
    """A late page may be newer than edits that the first pages missed."""
    started_at_s = int(clock.now())
    store.walk_add([made("E1", updated=started_at_s - 50)], "/page2")
    clock.advance(1000)
    store.walk_add([made("E2", updated=started_at_s + 900)], None)
    store.walk_finish(doubt_empty=True)
    assert store.state().high_water_s == started_at_s
    walk(store, [made("E1", updated=70)])
    assert store.state().high_water_s == 70


def test_an_abandoned_walk_leaves_nothing(store: CatalogStore) -> None:
    """The library stays, the pages do not."""
    walk(store, [made("E1")])
    store.walk_add([made("E2")], "/page2")
    store.walk_abandon()
    assert store.walk_cursor() is None
    assert walk(store, [made("E3")]).added == ("E3",)
