"""Labels with their members, and leases between mounts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

from backlotfs.api.records import Asset, DeletedAsset, Label
from backlotfs.catalog.db import leases
from backlotfs.catalog.db.schema import LibraryIdentity, prepare
from backlotfs.catalog.db.store import CatalogStore
from tests.unit.api.manual_clock import ManualClock
from tests.unit.catalog_db.stores import OpenStore, made, walk

SPORTS = Label("l1", "Sports", "/Sports", None)
RACING = Label("l2", "Racing/Rally", "/Sports/Racing~/Rally", "l1")


def labelled(embed_code: str, *labels: Label) -> Asset:
    """An asset as it is listed with its labels."""
    return replace(made(embed_code), labels=labels)


def test_labels_are_kept_in_order(store: CatalogStore) -> None:
    """Set again, they are no news; one id is one label."""
    store.labels_set([SPORTS, RACING, replace(SPORTS, name="again")])
    before = store.generation()
    store.labels_set([SPORTS, RACING])
    assert store.labels() == [SPORTS, RACING]
    assert store.generation() == before
    store.labels_set([RACING])
    assert store.labels() == [RACING]
    assert store.generation() == before + 1


def test_members_follow_the_records(store: CatalogStore) -> None:
    """An asset in several labels, one that changes them, one that loses them, one deleted."""
    walk(store, [labelled("E1", SPORTS, RACING), labelled("E2", SPORTS), labelled("E3", RACING)])
    assert store.label_members() == {"l1": ["E1", "E2"], "l2": ["E1", "E3"]}
    assert store.record("E1") == labelled("E1", SPORTS, RACING)
    seen = store.generation()
    store.apply(
        [labelled("E1", RACING), labelled("E2")], [DeletedAsset("E3", 9000)], synced_at_s=1.0
    )
    assert store.label_members() == {"l2": ["E1"]}
    changed = store.rows_changed_since("original", seen)
    assert changed is not None
    assert {row.embed_code for row in changed[0]} == {"E1", "E2"}


def test_a_listing_without_labels_says_nothing_about_them(store: CatalogStore) -> None:
    """What was known stays, also beside another edit."""
    walk(store, [labelled("E1", SPORTS)])
    assert walk(store, [made("E1")]).is_empty
    assert walk(store, [made("E1", title="x")]).changed == ("E1",)
    assert store.label_members() == {"l1": ["E1"]}


def test_of_two_mounts_one_has_the_lease(store: CatalogStore, reopen: OpenStore) -> None:
    """Until it ends, is given up, or is prolonged."""
    other = reopen()
    assert store.try_lease("sync", "A", 30)
    assert not other.try_lease("sync", "B", 30)
    assert other.try_lease("crawl", "B", 30)
    other.release_lease("sync", "B")
    assert not other.try_lease("sync", "B", 30)
    store.release_lease("sync", "A")
    assert other.try_lease("sync", "B", 30)


def test_a_lease_is_looked_at_again_before_it_is_taken() -> None:
    """`try_lease` looks without a lock first: somebody may be faster in between."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        prepare(connection, LibraryIdentity("https://x", "A"), 1)
        assert leases.take(connection, "sync", "A", 30.0, 100.0)
        assert not leases.take(connection, "sync", "B", 30.0, 100.0)


def test_a_lease_ends(store: CatalogStore, clock: ManualClock) -> None:
    """Of a mount that died; the holder may prolong it before."""
    assert store.try_lease("sync", "A", 30)
    clock.advance(20)
    assert store.try_lease("sync", "A", 30)
    clock.advance(29)
    assert not store.try_lease("sync", "B", 30)
    clock.advance(1)
    assert store.try_lease("sync", "B", 30)


def test_a_lease_from_the_future_is_void(store: CatalogStore, clock: ManualClock) -> None:
    """The clock was set back: nobody waits a year for it."""
    store.try_lease("sync", "A", 30)
    clock.advance(-86_400 * 365)
    assert store.try_lease("sync", "B", 30)
