# SPDX-License-Identifier: Apache-2.0
"""The file, or its folder, is removed, moved or replaced while mounts use it."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from backlotfs.catalog.db import assets
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.sync import FullSync
from tests.fakes.workers import PATIENCE_S
from tests.unit.catalog_db.catalogs import OpenDb, codes, made, records, walk

CANNOT_OPEN = sqlite3.OperationalError("unable to open database file")
CANNOT_OPEN.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN


def remove_cache(cache: Path) -> None:
    """What users do who want room."""
    shutil.rmtree(cache)


def remove_folder(cache: Path) -> None:
    shutil.rmtree(cache / "catalog")


def remove_database(cache: Path) -> None:
    """Its logs stay: they are those of another file then."""
    for found in (cache / "catalog").glob("*.sqlite3"):
        found.unlink()


def remove_files(cache: Path) -> None:
    for found in (cache / "catalog").iterdir():
        found.unlink()


def move(cache: Path) -> None:
    """To another disk, as the user thinks."""
    cache.rename(cache.with_name("moved"))


def exchange(cache: Path) -> None:
    """Another, empty one in its place."""
    move(cache)
    (cache / "catalog").mkdir(0o700, parents=True)


GONE = [remove_cache, remove_folder, remove_database, remove_files, move, exchange]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The cache folder."""
    found = tmp_path / "cache"
    found.mkdir(0o700)
    return found


@pytest.fixture
def db(reopen: OpenDb, cache: Path) -> CatalogDb:
    """A catalog of two assets."""
    found = reopen(cache)
    walk(found, [made("E1"), made("E2")])
    return found


def is_sound(db: CatalogDb) -> bool:
    """Whether SQLite finds nothing wrong in the file."""
    assert db.path is not None
    with closing(sqlite3.connect(db.path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


@pytest.mark.parametrize("remove", GONE)
def test_it_is_written_again(
    db: CatalogDb,
    cache: Path,
    reopen: OpenDb,
    remove: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With all that is in it; told once; the next mount begins with it."""
    before = records(db)
    remove(cache)
    db.keep_file()
    db.keep_file()
    assert records(db) == before
    walk(db, [made("E1"), made("E2"), made("E3")])
    assert db.path is not None
    assert stat.S_IMODE(db.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(db.path.parent.stat().st_mode) == 0o700
    db.close()
    again = reopen(cache)
    assert codes(again) == {"E1", "E2", "E3"}
    assert is_sound(again)
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [getattr(record, "event", "") for record in told] == ["cache-file-remade"]


@pytest.mark.parametrize("remove", GONE)
def test_many_read_before_that_is_noticed(
    db: CatalogDb, cache: Path, remove: Callable[[Path], None]
) -> None:
    """More than have a connection: none of them fails."""
    before = records(db)
    remove(cache)
    readers = 8
    at_once = Barrier(readers)

    def read(_number: int) -> object:
        def work(connection: sqlite3.Connection) -> object:
            return list(assets.rows(connection, "original"))

        at_once.wait(PATIENCE_S)
        return db.read(work)

    with ThreadPoolExecutor(readers) as pool:
        found = list(pool.map(read, range(readers)))
    assert all(rows == found[0] for rows in found)
    assert records(db) == before


def test_a_listing_goes_on(db: CatalogDb, cache: Path) -> None:
    """The pages of a full sync are not lost."""
    full_sync = FullSync(db)
    full_sync.add([made("E1")], "next")
    remove_cache(cache)
    db.keep_file()
    assert FullSync(db).cursor() is not None
    full_sync.add([made("E5")], None)
    full_sync.finish(doubt_empty=True)
    assert codes(db) == {"E1", "E5"}


def test_two_mounts(db: CatalogDb, cache: Path, reopen: OpenDb) -> None:
    """The first writes it again, the second uses that; each still sees what the other does."""
    other = reopen(cache)
    remove_cache(cache)
    db.keep_file()
    walk(db, [made("E1"), made("E3")])
    other.keep_file()
    assert codes(other) == {"E1", "E3"}
    walk(other, [made("E1"), made("E4")])
    assert codes(db) == {"E1", "E4"}
    other.close()
    assert codes(db) == {"E1", "E4"}
    assert is_sound(db)


def test_a_mount_that_ends_before_it_notices(db: CatalogDb, cache: Path, reopen: OpenDb) -> None:
    """It takes nothing of the new file away."""
    other = reopen(cache)
    remove_cache(cache)
    db.keep_file()
    walk(db, [made("E3")])
    other.close()
    walk(db, [made("E4")])
    assert codes(db) == {"E4"}
    assert is_sound(db)


def test_a_file_that_two_mounts_use(
    db: CatalogDb, cache: Path, reopen: OpenDb, caplog: pytest.LogCaptureFixture
) -> None:
    """Removed, but not its logs, which the other mount writes: no new file is put beside them."""
    other = reopen(cache)
    remove_database(cache)
    db.keep_file()
    assert (codes(db), db.path) == ({"E1", "E2"}, None)
    assert "another mount uses it" in caplog.text
    walk(other, [made("E3")])
    assert codes(other) == {"E3"}


def test_its_disk_was_taken_away(db: CatalogDb, cache: Path, reopen: OpenDb) -> None:
    """Nothing of it can be read any more: it is as after a damage, and the library listed again."""
    db.close()
    db = reopen(cache)  # which has read little of the file so far
    path = db.path
    assert path is not None
    os.truncate(path, 100)
    remove_cache(cache)
    epoch = db.epoch
    db.keep_file()
    assert (codes(db), db.epoch) == (set(), epoch + 1)
    walk(db, [made("E3")])
    assert (codes(db), db.path) == ({"E3"}, None)


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_it_cannot_be_written_again(
    db: CatalogDb, cache: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The mount goes on with the content in memory, and says so."""
    remove_folder(cache)
    if kind == "file":
        (cache / "catalog").touch()
    else:
        (cache / "catalog").symlink_to(cache if kind == "link" else cache / "nowhere")
    db.keep_file()
    assert codes(db) == {"E1", "E2"}
    walk(db, [made("E3")])
    assert (codes(db), db.path) == ({"E3"}, None)
    assert "cannot be kept" in caplog.text


@pytest.mark.parametrize("error", [CANNOT_OPEN, FileNotFoundError(2, "/proc/self/fd/-1")])
def test_no_connection_can_be_opened(
    db: CatalogDb, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers take turns on the one that is open.

    So it is when the process has no descriptor left, or when the file is given up meanwhile.
    """

    def fail() -> None:
        raise error

    monkeypatch.setattr(db._file, "connect", fail)
    with ThreadPoolExecutor(8) as pool:
        assert [len(found) for found in pool.map(lambda _n: records(db), range(40))] == [2] * 40
