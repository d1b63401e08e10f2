# SPDX-License-Identifier: Apache-2.0
"""Labels with their members, and leases between mounts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from backlotfs.api.records import Asset, DeletedAsset, Label
from backlotfs.catalog.db import assets, leases, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.schema import LibraryIdentity, prepare
from tests.fakes.clocks import ManualClock
from tests.unit.catalog_db.catalogs import OpenDb, apply, made, walk

SPORTS = Label("l1", "Sports", "/Sports", None)
RACING = Label("l2", "Racing/Rally", "/Sports/Racing~/Rally", "l1")


def labelled(embed_code: str, *labels: Label) -> Asset:
    """An asset as it is listed with its labels."""
    return replace(made(embed_code), labels=labels)


def test_labels_are_kept_in_order(db: CatalogDb) -> None:
    """Set again, they are no news; one id is one label."""
    db.write(state.set_labels, [SPORTS, RACING, replace(SPORTS, name="again")])
    before = db.read(state.generation)
    db.write(state.set_labels, [SPORTS, RACING])
    assert db.read(state.labels) == [SPORTS, RACING]
    assert db.read(state.generation) == before
    db.write(state.set_labels, [RACING])
    assert db.read(state.labels) == [RACING]
    assert db.read(state.generation) == before + 1


def test_members_follow_the_records(db: CatalogDb) -> None:
    """An asset in several labels, one that changes them, one that loses them, one deleted."""
    walk(db, [labelled("E1", SPORTS, RACING), labelled("E2", SPORTS), labelled("E3", RACING)])
    assert db.read(state.label_members) == {"l1": ["E1", "E2"], "l2": ["E1", "E3"]}
    assert db.read(assets.record, "E1") == labelled("E1", SPORTS, RACING)
    seen = db.read(state.generation)
    apply(db, [labelled("E1", RACING), labelled("E2")], [DeletedAsset("E3", 9000)])
    assert db.read(state.label_members) == {"l2": ["E1"]}
    changed = db.read(assets.changed_since, "original", seen)
    assert changed is not None
    assert {row.embed_code for row in changed[0]} == {"E1", "E2"}


def test_a_listing_without_labels_says_nothing_about_them(db: CatalogDb) -> None:
    """What was known stays, also beside another edit."""
    walk(db, [labelled("E1", SPORTS)])
    assert walk(db, [made("E1")]).is_empty
    assert walk(db, [made("E1", title="x")]).changed == ("E1",)
    assert db.read(state.label_members) == {"l1": ["E1"]}


def test_of_two_mounts_one_has_the_lease(db: CatalogDb, reopen: OpenDb) -> None:
    """Until it ends, is given up, or is prolonged."""
    other = reopen()
    assert Lease(db, "sync", 30, "A").take()
    assert not Lease(other, "sync", 30, "B").take()
    assert Lease(other, "crawl", 30, "B").take()
    Lease(other, "sync", 30, "B").release()
    assert not Lease(other, "sync", 30, "B").take()
    Lease(db, "sync", 30, "A").release()
    assert Lease(other, "sync", 30, "B").take()


def test_a_lease_is_looked_at_again_before_it_is_taken() -> None:
    """`Lease.take` looks without a lock first: another process may take it in between."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        prepare(connection, LibraryIdentity("https://x", "A"), 1)
        assert leases.take(connection, "sync", "A", 30.0, ManualClock())
        assert not leases.take(connection, "sync", "B", 30.0, ManualClock())


def test_a_lease_that_is_taken_between_the_looks(
    db: CatalogDb, reopen: OpenDb, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is later than the first look, but not from the future."""
    other, now = reopen(), clock.now

    def now_and_then_another_takes_it() -> float:
        monkeypatch.undo()
        looked_at_s = now()
        clock.advance(1)
        assert Lease(other, "sync", 30, "A").take()
        return looked_at_s

    monkeypatch.setattr(clock, "now", now_and_then_another_takes_it)
    assert not Lease(db, "sync", 30, "B").take()


def test_a_lease_ends(db: CatalogDb, clock: ManualClock) -> None:
    """Of a mount that died; the holder may prolong it before."""
    assert Lease(db, "sync", 30, "A").take()
    clock.advance(20)
    assert Lease(db, "sync", 30, "A").take()
    clock.advance(29)
    assert not Lease(db, "sync", 30, "B").take()
    clock.advance(1)
    assert Lease(db, "sync", 30, "B").take()


def test_a_lease_from_the_future_is_void(db: CatalogDb, clock: ManualClock) -> None:
    """The clock was set back: nobody waits a year for it."""
    Lease(db, "sync", 30, "A").take()
    clock.advance(-86_400 * 365)
    assert Lease(db, "sync", 30, "B").take()
