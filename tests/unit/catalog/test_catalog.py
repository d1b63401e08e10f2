# SPDX-License-Identifier: Apache-2.0
"""The library's listing: published from the database, kept fresh, never half changed."""

from __future__ import annotations

import logging
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest

from backlotfs.catalog import catalog as catalog_module
from backlotfs.catalog.db import assets, saved_listing, state
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import (
    CatalogClosed,
    CatalogLost,
    CatalogUnavailable,
    SizedCounts,
    SourceRecord,
)
from backlotfs.catalog.db.sync import FullSync
from backlotfs.catalog.library import AssetFilter, Library
from backlotfs.errors import CredentialsRefused, Interrupted, RemoteUnavailable
from tests.fakes.records import asset
from tests.fakes.workers import PATIENCE_S
from tests.unit.catalog.synced import SyncedCatalog


def test_load(synced: SyncedCatalog) -> None:
    """What has a source, with names; other types are left out."""
    synced.api.assets = [
        asset("A", "a.mov"),
        asset("B", "a.mov", created_at_s=2000),
        asset("C", asset_type="channel"),
    ]
    synced.load()
    assert synced.names == {"A": "a.mov", "B": "a [B].mov"}
    assert synced.catalog.row("A") is not None
    assert synced.catalog.row("C") is None
    record = synced.catalog.record("A")
    assert record is not None
    assert record.original_file_name == "a.mov"
    assert synced.catalog.total_size() == 0
    assert synced.catalog.last_error is None


def test_load_fails(synced: SyncedCatalog) -> None:
    """The error is the caller's, and is kept for ``status``."""
    synced.api.error, synced.api.fail_at = CredentialsRefused("401"), 1
    with pytest.raises(CredentialsRefused):
        synced.load()
    assert isinstance(synced.catalog.last_error, CredentialsRefused)
    synced.api.error = None
    synced.load()
    assert synced.catalog.last_error is None


def test_open_saved(tmp_path: Path, synced: SyncedCatalog) -> None:
    """A library from before, without a call; an unfinished first listing is none."""
    assert not synced.catalog.open_saved()
    synced.api.assets = [asset(code, f"{code}.mov") for code in "ABC"]
    synced.api.error, synced.api.fail_at = RemoteUnavailable("down"), 2
    with pytest.raises(RemoteUnavailable):
        synced.load()
    assert not synced.catalog.open_saved()
    synced.api.error = None
    synced.load()
    again = SyncedCatalog(tmp_path)
    try:
        assert again.catalog.open_saved()
        shown: list[Library] = []
        waiting = threading.Thread(target=lambda: shown.append(again.catalog.library))
        waiting.start()
        waiting.join(0.05)
        assert not shown, "who looks before it is read waits for it"
        assert again.catalog.counted() == SizedCounts(0, 0, 3)
        assert again.catalog.assets() == 3, "df does not wait"
        assert again.catalog.show_saved()
        waiting.join(PATIENCE_S)
        assert again.names == synced.names
        assert shown == [again.catalog.library]
        assert again.api.calls == []
        assert again.changes[0].new == [], "nothing is new to whoever has just come"
    finally:
        again.db.close()


def test_a_large_listing_is_saved_for_the_next_mount(
    tmp_path: Path, synced: SyncedCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was shown; what changes later is read from the rows. A small one needs no copy."""
    synced.api.assets = [asset(f"E{number}", f"{number}.mov") for number in range(20)]
    synced.load()
    view = saved_listing.view("original", AssetFilter().types, ())
    synced.catalog.save_listing()
    assert synced.db.read(saved_listing.generation, view) is None
    monkeypatch.setattr(catalog_module, "SAVED_FROM", 20)
    synced.catalog.save_listing()
    generation = synced.db.read(state.generation)
    assert synced.db.read(saved_listing.generation, view) == generation
    found = SourceRecord("E3", 7, None, None, 0, True, False)
    synced.db.write(assets.save_sources, [found])
    again = SyncedCatalog(tmp_path)
    try:
        assert again.catalog.open_saved()
        with mock.patch.object(saved_listing, "load", wraps=saved_listing.load) as load:
            assert again.catalog.show_saved()
        assert load.called
        assert again.names == synced.names
        row = again.catalog.row("E3")
        assert row is not None
        assert row.size == 7
        assert again.changes[0].new == []
    finally:
        again.db.close()


def test_a_saved_listing_that_is_never_read(synced: SyncedCatalog) -> None:
    """Whoever waits for it gets an error when the mount ends, and so does who comes later."""
    presented = synced.catalog.presented
    presented.expect()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: presented.library)
        presented.end()
        assert isinstance(waiting.exception(PATIENCE_S), CatalogClosed)
    with pytest.raises(CatalogClosed):
        _ = presented.library


def test_who_is_killed_does_not_wait_for_a_saved_listing(synced: SyncedCatalog) -> None:
    """Others wait on."""
    presented = synced.catalog.presented
    presented.expect()
    killed = threading.local()
    presented.interrupted = lambda: getattr(killed, "here", False)

    def wait(*, is_killed: bool) -> object:
        killed.here = is_killed
        return presented.library

    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(wait, is_killed=False)
        gone = pool.submit(wait, is_killed=True)
        assert isinstance(gone.exception(PATIENCE_S), Interrupted)
        assert not other.done()
        presented.show(presented.current)
        assert other.result(PATIENCE_S) is presented.current


@pytest.mark.parametrize("error", [None, RemoteUnavailable("down")])
def test_a_saved_listing_is_not_fresh(
    tmp_path: Path, synced: SyncedCatalog, error: RemoteUnavailable | None
) -> None:
    """It counts as being refreshed until the API was asked what changed, or did not answer."""
    synced.load()
    assert not synced.catalog.refreshing
    again = SyncedCatalog(tmp_path)
    try:
        assert again.catalog.open_saved()
        assert again.catalog.refreshing
        again.api.error, again.api.fail_at = error, 1
        again.catalog.refresh()
        again.workers.run_all()
        assert not again.catalog.refreshing
        assert again.catalog.last_error is error
    finally:
        again.db.close()


def test_the_end_of_the_mount_cuts_a_refresh_short(
    synced: SyncedCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is closed under it: nobody has to be warned of that."""
    synced.load()
    synced.catalog.refresh()
    synced.db.close()
    with caplog.at_level(logging.DEBUG):
        synced.workers.run_all()
    assert not synced.catalog.refreshing
    assert synced.catalog.last_error is None
    assert "interrupted by the end of the mount" in caplog.text
    assert max(record.levelno for record in caplog.records) < logging.WARNING


def test_a_wait_for_a_credit_that_the_end_of_the_mount_cuts_short(synced: SyncedCatalog) -> None:
    """It is no failure: nobody is told at the end that what was shown is stale."""
    synced.load()
    synced.api.error, synced.api.fail_at = Interrupted("waiting for an API credit"), 1
    synced.catalog.refresh()
    synced.workers.run_all()
    assert not synced.catalog.refreshing
    assert synced.catalog.last_error is None


def test_a_refresh_says_what_changed(synced: SyncedCatalog) -> None:
    """New, updated, probed and removed rows, to whoever listens."""
    synced.api.assets = [asset(code, f"{code}.mov") for code in "ABC"]
    synced.load()
    synced.db.write(
        assets.save_sources, [SourceRecord(code, 5, '"e"', None, 1, True, False) for code in "AB"]
    )
    version = synced.catalog.library.version
    synced.api.assets = [
        asset("A", "A.mov", updated_at_s=3000),
        asset("B", "B.mov"),
        asset("D", "D.mov", updated_at_s=3000),
    ]
    synced.changes.clear()
    synced.catalog.refresh(full=True)
    synced.workers.run_all()
    (change,) = synced.changes
    assert [row.embed_code for row in change.new] == ["D"]
    assert [row.embed_code for row in change.updated] == ["A"]
    assert [row.embed_code for row in change.probed] == ["B"]
    assert [row.embed_code for row in change.removed] == ["C"]
    assert not change.updated[0].verified, "its source may be another now"
    assert synced.catalog.library.version == version + 1


def test_an_asset_that_changes_its_type(synced: SyncedCatalog) -> None:
    """Leaves the mount, and comes back."""
    synced.api.assets = [asset("A"), asset("B", "b.mov")]
    synced.load()
    for kind, there in (("channel", False), ("video", True)):
        stamp = 3000 if kind == "channel" else 3500
        synced.api.assets = [asset("A", asset_type=kind, updated_at_s=stamp)]
        synced.load()
        assert ("A" in synced.names) is there
    assert [row.embed_code for row in synced.changes[-2].removed] == ["A"]
    assert [row.embed_code for row in synced.changes[-1].new] == ["A"]


def test_nothing_new_publishes_nothing(synced: SyncedCatalog) -> None:
    """The tree is not built again for it."""
    synced.api.assets = [asset("A")]
    synced.load()
    library = synced.catalog.library
    synced.load()
    assert synced.catalog.library is library
    assert len(synced.changes) == 1


def test_a_failed_refresh_keeps_the_last_good_listing(
    synced: SyncedCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning; the next is due after another TTL, not at once."""
    synced.api.assets = [asset("A")]
    synced.load()
    synced.api.error, synced.api.fail_at = RemoteUnavailable("down"), 1
    synced.clock.advance(301)
    synced.catalog.used()
    with caplog.at_level(logging.WARNING):
        synced.workers.run_all()
    assert set(synced.names) == {"A"}
    assert "the last listing is still shown: down" in caplog.text
    assert isinstance(synced.catalog.last_error, RemoteUnavailable)
    synced.catalog.used()
    assert not synced.workers.jobs


def test_ttl(synced: SyncedCatalog) -> None:
    """Use starts a refresh in the background when the listing is old enough, and only one."""
    synced.load()
    synced.clock.advance(299)
    synced.catalog.used()
    assert not synced.workers.jobs
    synced.clock.advance(1)
    synced.catalog.used()
    synced.catalog.used()
    assert synced.catalog.refreshing
    assert len(synced.workers.jobs) == 1
    synced.workers.run_all()
    assert not synced.catalog.refreshing


def test_a_refresh_asked_for_during_one_comes_after_it(synced: SyncedCatalog) -> None:
    """And it is a full one if anybody wanted that."""
    synced.load()
    synced.catalog.refresh()
    synced.catalog.refresh(full=True)
    synced.catalog.refresh()
    synced.api.calls.clear()
    synced.workers.run_all()
    assert [call.split()[0] for call in synced.api.calls] == ["since", "deleted", "walk"]
    assert not synced.catalog.refreshing


def test_a_store_that_fails_for_a_moment_fails_no_use(
    synced: SyncedCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing or an open is answered from memory."""
    synced.load()

    def fail(*_work: object) -> None:
        raise CatalogUnavailable("busy")

    monkeypatch.setattr(synced.db, "read", fail)
    synced.catalog.used()
    synced.clock.advance(1000)
    synced.catalog.used()


class Rounds:
    """The keeper's rounds, one at a time: it sleeps until the test lets it go on."""

    def __init__(self, synced: SyncedCatalog) -> None:
        self._looks, self._slept = threading.Semaphore(0), threading.Semaphore(0)
        # for good: the thread never ends
        synced.clock.sleep = self._sleep  # type: ignore[method-assign]

    def _sleep(self, seconds: float) -> None:  # noqa: ARG002  # as a clock's
        self._slept.release()
        self._looks.acquire()

    def over(self) -> None:
        """Wait until the keeper has done its round."""
        assert self._slept.acquire(timeout=PATIENCE_S)

    def next(self) -> None:
        """Wait for that, and let it begin another."""
        self.over()
        self.begin()

    def begin(self) -> None:
        """Let it begin another."""
        self._looks.release()


def test_another_mounts_news(tmp_path: Path, synced: SyncedCatalog) -> None:
    """What another mount of the library synced is seen a little later; an idle one syncs hourly."""
    synced.load()
    other = SyncedCatalog(tmp_path)
    other.api.assets = [asset("A")]
    rounds = Rounds(synced)
    synced.catalog.keep_fresh()
    other.clock.advance(7200)
    other.catalog.refresh(full=True)
    other.workers.run_all()
    rounds.next()
    rounds.next()
    assert "A" in synced.names
    assert not synced.workers.jobs
    synced.clock.advance(catalog_module.IDLE_SYNC_S)
    rounds.next()
    rounds.over()
    assert len(synced.workers.jobs) == 1
    other.db.close()


def test_a_mistake_of_ours_does_not_end_the_look_for_news(
    synced: SyncedCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log, and the next round is made as ever."""
    synced.load()
    rounds = Rounds(synced)
    synced.clock.advance(catalog_module.IDLE_SYNC_S)

    def fail(*_work: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as mistaken:
        mistaken.setattr(synced.db, "read", fail)
        synced.catalog.keep_fresh()
        rounds.next()
        rounds.over()
    assert "ZeroDivisionError" in caplog.text
    assert not synced.workers.jobs
    rounds.begin()
    rounds.over()
    assert len(synced.workers.jobs) == 1


def damaged(synced: SyncedCatalog) -> None:
    """Overwrite half of the file of 400 assets."""
    path = synced.db.path
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4)
        file.write(b"\xaa" * (path.stat().st_size // 2))


def many_assets(synced: SyncedCatalog) -> None:
    """Load so many that their file can be damaged in the middle."""
    synced.api.assets = [asset(f"{number:04}") for number in range(400)]
    synced.load()


def test_a_catalog_that_is_lost_in_use_hides_nothing(synced: SyncedCatalog) -> None:
    """The file is damaged and begun anew: the library stays until it was listed again."""
    many_assets(synced)
    before = synced.names
    damaged(synced)
    synced.clock.advance(60)
    synced.db.write(state.set_generation, 1)  # as another mount does with news
    with pytest.raises(CatalogLost):
        synced.catalog.publish()
    assert synced.names == before
    synced.api.assets.pop()
    synced.load()
    assert len(synced.names) == 399


def test_a_catalog_that_is_lost_is_listed_again_at_once(synced: SyncedCatalog) -> None:
    """Whichever finds the damage: a sync, or the look for the news of other mounts."""
    many_assets(synced)
    damaged(synced)
    synced.clock.advance(60)
    synced.catalog.refresh()
    synced.workers.run_all()
    assert synced.db.read(state.sync_state).full_sync_at_s == synced.clock.now()
    assert len(synced.names) == 400

    rounds = Rounds(synced)
    synced.catalog.keep_fresh()
    rounds.next()
    rounds.over()
    damaged(synced)
    synced.db.write(state.set_generation, 1)
    synced.db.write(state.mark_synced, synced.clock.now() + 1, full=False)
    rounds.begin()
    rounds.over()
    assert len(synced.workers.jobs) == 1
    synced.workers.run_all()
    assert synced.db.read(state.sync_state).full_sync_at_s == synced.clock.now()


def test_a_catalog_that_is_lost_again_and_again(
    synced: SyncedCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is listed again once, not for ever: each time costs calls."""
    synced.load()

    def lose() -> None:
        raise CatalogLost("lost")

    monkeypatch.setattr(synced.catalog, "publish", lose)
    synced.catalog.refresh()
    for _ in range(2):
        synced.workers.jobs.popleft()()
    assert not synced.workers.jobs


def test_a_first_listing_by_another_mount_is_waited_for(
    tmp_path: Path, synced: SyncedCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is published before it is finished; then both present it."""
    other = SyncedCatalog(tmp_path)
    full_sync = FullSync(other.db)
    full_sync.add([asset("A")], None)

    def other_finishes(_seconds: float) -> None:
        assert synced.catalog.library.version == 0
        full_sync.finish(doubt_empty=True)

    monkeypatch.setattr(synced.clock, "sleep", other_finishes)
    with closing(other.db):
        assert Lease(other.db, "sync", 60).take()
        synced.load()
    assert list(synced.names) == ["A"]
    assert synced.api.calls == []
