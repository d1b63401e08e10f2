# SPDX-License-Identifier: Apache-2.0
"""Damage that is met later, disks that are full or cannot be written, and other mounts beside."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from backlotfs.catalog.db import assets, connection, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import CatalogUnavailable, FullSyncLost
from backlotfs.catalog.db.sync import FullSync
from tests.fakes.clocks import ManualClock
from tests.unit.catalog_db.catalogs import (
    MODE,
    OpenDb,
    apply,
    codes,
    give_names,
    made,
    open_db,
    records,
    walk,
)

ROOT = Path(__file__).resolve().parents[3]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was warned of."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def spoiled(path: Path, reopen: OpenDb, *, count: int = 3000) -> CatalogDb:
    """A database that opened well, over a file with damage in the middle."""
    with closing(reopen()) as db:
        walk(db, [made(f"E{number:05}") for number in range(count)])
        give_names(
            db,
            MODE,
            lambda assets, _: {each.embed_code: each.title + each.embed_code for each in assets},
        )
    db = reopen()
    with closing(sqlite3.connect(path)) as connection:  # another mount may keep it all in its log
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(size // 4)
        file.write(b"\xaa" * (size // 2))
    return db


@pytest.fixture
def path(db: CatalogDb) -> Path:
    """Where the catalog is; closed."""
    assert db.path is not None
    db.close()
    return db.path


def test_damage_met_by_a_reader(
    path: Path, reopen: OpenDb, caplog: pytest.LogCaptureFixture
) -> None:
    """The catalog begins anew, and does not pass itself off as an empty library; one line."""
    db = spoiled(path, reopen)
    seen = db.read(state.generation)
    assert codes(db) == set()
    assert db.read(assets.changed_since, MODE, seen) is None
    assert db.read(state.sync_state).full_sync_at_s == 0
    assert len(warnings_in(caplog)) == 1
    assert path.with_name(f"{path.name}.set-aside-1").stat().st_size > 100_000
    assert db.path == path
    walk(db, [made("E1")])
    assert codes(db) == {"E1"}
    assert db.read(assets.changed_since, MODE, seen) is None
    db.close()
    assert codes(reopen()) == {"E1"}


def test_damage_met_by_a_writer(
    path: Path, reopen: OpenDb, caplog: pytest.LogCaptureFixture
) -> None:
    """A walk is begun again, and an answer that came in alone does not pass for a library."""
    db = spoiled(path, reopen)
    full_sync = FullSync(db)
    full_sync.add([made("E1")], "/page2")
    full_sync.add([made("E2")], None)
    with pytest.raises(FullSyncLost):
        full_sync.finish(doubt_empty=False)
    assert len(warnings_in(caplog)) == 1
    apply(db, [made("E3")], [], synced_at_s=5000.0)
    db.write(state.mark_synced, db.clock.now(), full=True)
    now = db.read(state.sync_state)
    assert (now.synced_at_s, now.full_sync_at_s) == (0, 0)
    walk(db, [made("E1"), made("E2")])
    assert codes(db) == {"E1", "E2"}


def test_damage_met_beside_a_walk(path: Path, reopen: OpenDb) -> None:
    """Its first pages are gone: those after them alone are no library."""
    db = spoiled(path, reopen)
    full_sync = FullSync(db)
    full_sync.add([made("E1")], "/page2")
    assert records(db) == []
    with pytest.raises(FullSyncLost):
        full_sync.add([made("E2")], None)
    assert full_sync.cursor() is None
    walk(db, [made("E1"), made("E2")])
    assert codes(db) == {"E1", "E2"}


def test_damage_met_by_many_at_once(
    path: Path, reopen: OpenDb, caplog: pytest.LogCaptureFixture
) -> None:
    """One of them replaces the file, the others use the new one."""
    db = spoiled(path, reopen)
    found: list[object] = []
    barrier = threading.Barrier(8)

    def read() -> None:
        barrier.wait()
        found.append(records(db))

    threads = [threading.Thread(target=read, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[]] * 8
    assert len(warnings_in(caplog)) == 1
    assert not path.with_name(f"{path.name}.set-aside-2").exists()


def test_damage_inside_a_text(path: Path, reopen: OpenDb, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite does not see it; a document that is none, or text that is not UTF-8, tells."""
    for column in ("body = '{'", "body = CAST(X'FF' AS TEXT)"):
        with closing(reopen()) as db:
            walk(db, [made("E1")])
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"UPDATE record SET {column}")
        with closing(reopen()) as db:
            assert db.read(assets.record, "E1") is None
    assert len(warnings_in(caplog)) == 2


def test_a_damaged_file_that_another_mount_uses_stays(
    path: Path, reopen: OpenDb, caplog: pytest.LogCaptureFixture
) -> None:
    """Its log must not be taken from under it: memory stands in for the second."""
    other = reopen()
    db = spoiled(path, reopen)
    assert codes(db) == set()
    assert db.path is None
    assert path.exists()
    assert "another mount" in warnings_in(caplog)[0]
    walk(db, [made("E1")])
    assert codes(db) == {"E1"}
    # Now nobody else uses it.
    assert codes(other) == set()
    assert other.path == path
    assert path.with_name(f"{path.name}.set-aside-1").exists()


def test_a_folder_that_cannot_be_made(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory stands in, and does all that the file does, for as long as the mount lives."""
    (tmp_path / "file").touch()
    with closing(open_db(tmp_path / "file", clock)) as db:
        assert db.path is None
        assert len(warnings_in(caplog)) == 1
        walk(db, [made("E1")])
        assert codes(db) == {"E1"}
        assert Lease(db, "sync", 30, "A").take()
        assert records(db) == [made("E1")]


FULL_DISK = """
import resource, sys
from pathlib import Path
from backlotfs.concurrency.clock import SystemClock
from backlotfs.catalog.db.rows import CatalogUnavailable, FullSyncLost
from tests.unit.catalog_db.catalogs import codes, made, open_db, walk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
db = open_db(Path(sys.argv[1]), SystemClock())
print("memory" if db.path is None else "file")
walk(db, [made("E1")])
try:
    walk(db, [made(f"E{number}") for number in range(20_000)])
except CatalogUnavailable:
    print("unavailable")
print(len(codes(db)))
db.close()
"""


@pytest.mark.parametrize(
    ("limit", "told"),
    [(1000, ["memory", "20000"]), (600_000, ["file", "unavailable", "1"])],
)
def test_a_full_disk(tmp_path: Path, limit: int, told: list[str]) -> None:
    """At the start memory stands in; later a write fails whole, and reads go on."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(limit)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.split() == told


def test_a_closed_store_says_so(db: CatalogDb) -> None:
    """Closing twice is fine."""
    db.close()
    db.close()
    with pytest.raises(CatalogUnavailable, match="closed"):
        db.read(assets.rows, MODE)
    with pytest.raises(CatalogUnavailable, match="closed"):
        FullSync(db).abandon()


def test_a_mount_that_opens_is_waited_for(
    path: Path, clock: ManualClock, reopen: OpenDb, caplog: pytest.LogCaptureFixture
) -> None:
    """But not for ever."""
    import fcntl

    lock = os.open(path.with_suffix(".lock"), os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert reopen().path is None
        assert 29 < sum(clock.slept_s) < 31
    finally:
        os.close(lock)
    assert reopen().path == path


def test_readers_do_not_wait_for_a_writer(db: CatalogDb) -> None:
    """They see the version before, whole, however many they are."""
    walk(db, [made("E1")])
    seen: list[object] = []

    def assign(assets: object, taken: object) -> dict[str, str]:
        threads = [
            threading.Thread(target=lambda: seen.append(codes(db)), daemon=True) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"E1": "a"}

    give_names(db, MODE, assign)
    assert seen == [{"E1"}] * 6
    assert connection._IDLE_READERS < 6


def test_a_mistake_of_ours_is_not_hidden(db: CatalogDb) -> None:
    """A wrong value is no trouble of the disk."""
    with pytest.raises(sqlite3.ProgrammingError):
        db.read(assets.record, object())  # type: ignore[arg-type]  # the mistake
