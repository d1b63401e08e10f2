# SPDX-License-Identifier: Apache-2.0
"""The file: where it is, who may read it, and what becomes of one that cannot be used."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from backlotfs.catalog.db import assets, captions, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.folders import FolderTime, save_folder_times
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import inode_of
from backlotfs.catalog.db.schema import VERSION, LibraryIdentity, shape_of
from tests.unit.catalog_db.catalogs import (
    ACCOUNT,
    API_URL,
    MODE,
    OpenDb,
    codes,
    file_names,
    give_names,
    made,
    names,
    walk,
)


def file_of(db: CatalogDb) -> Path:
    """Its path, which it has."""
    assert db.path is not None
    return db.path


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was warned of."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def change(path: Path, *statements: str) -> None:
    """Do something to a closed catalog behind its back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_one_file_per_library(db: CatalogDb, tmp_path: Path) -> None:
    """Named by the API and the account."""
    digest = sha256(f"{API_URL}\n{ACCOUNT}".encode()).hexdigest()[:24]
    assert db.path == tmp_path / "catalog" / f"{digest}.sqlite3"


@pytest.mark.parametrize(
    ("url", "normalised"),
    [
        ("https://API.Example.com:443/", "https://api.example.com"),
        ("HTTP://x:80", "http://x"),
        ("http://x:8080/v/", "http://x:8080/v"),
        ("https://user:word@x", "https://x"),
        ("http://[::1]:80/", "http://[::1]"),
    ],
)
def test_spellings_of_one_server_are_one_library(url: str, normalised: str) -> None:
    """Case, default port, slash; and no password gets into the file."""
    assert LibraryIdentity.of(url, "A").api_url == normalised


def test_nobody_else_can_read_it(db: CatalogDb, reopen: OpenDb) -> None:
    """Nor its logs, whatever the umask, and also when it was loose before."""
    path = file_of(db)
    walk(db, [made("E1")])
    db.close()
    path.chmod(0o644)
    path.parent.chmod(0o755)
    before = os.umask(0)
    try:
        walk(reopen(), [made("E1"), made("E2")])
        modes = {
            found.name.removeprefix(path.stem): stat.S_IMODE(found.stat().st_mode)
            for found in path.parent.iterdir()
        }
    finally:
        os.umask(before)
    assert modes == dict.fromkeys((".sqlite3", ".sqlite3-wal", ".sqlite3-shm", ".lock"), 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def damage_header(path: Path) -> None:
    path.write_bytes(b"not a database\n" * 1000)


def cut(path: Path) -> None:
    os.truncate(path, 9000)


def overwrite_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def make_foreign(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE bookmarks (url TEXT)")


def make_newer(path: Path) -> None:
    change(path, f"PRAGMA user_version = {VERSION + 1}")


def drop_a_table(path: Path) -> None:
    change(path, "DROP TABLE record")


def drop_a_trigger(path: Path) -> None:
    change(path, "DROP TRIGGER tally_update")


def take_from_another_library(path: Path) -> None:
    change(path, "UPDATE library SET account = 'other'")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (damage_header, "not a database"),
        (cut, "malformed"),
        (overwrite_pages, "malformed"),
        (make_foreign, "another program"),
        (make_newer, "later version"),
        (drop_a_table, "tables"),
        (drop_a_trigger, "tables"),
        (take_from_another_library, "another library"),
    ],
)
def test_an_unusable_file_is_set_aside(
    db: CatalogDb,
    reopen: OpenDb,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    reason: str,
) -> None:
    """Kept for whoever wants to look, told in one line, and replaced by an empty one."""
    walk(db, [made("E1")])
    path = file_of(db)
    db.close()
    spoil(path)
    spoilt = path.read_bytes()
    again = reopen()
    assert again.path == path
    assert again.read(state.sync_state).synced_at_s == 0
    assert codes(again) == set()
    assert (path.parent / f"{path.name}.set-aside-1").read_bytes() == spoilt
    (warning,) = warnings_in(caplog)
    assert reason in warning
    walk(again, [made("E2")])
    again.close()
    assert codes(reopen()) == {"E2"}


@pytest.mark.parametrize(
    "value",
    [
        "embed_code = CAST(x'ff41' AS TEXT)",
        "last_modified = CAST(x'ff' AS TEXT)",
        "etag = CAST(x'ff' AS TEXT)",
        "inode = 'abc'",
        "created_at_s = 'long ago'",
    ],
)
def test_a_damaged_row(db: CatalogDb, reopen: OpenDb, value: str) -> None:
    """It is noticed as the rows are read, and then the file is set aside too."""
    walk(db, [made(f"E{number}") for number in range(600)])
    path = file_of(db)
    db.close()
    change(path, f"UPDATE asset SET {value} WHERE embed_code = 'E300'")
    spoilt = path.read_bytes()
    again = reopen()
    assert not list(again.read(assets.rows, MODE))
    assert (path.parent / f"{path.name}.set-aside-1").read_bytes() == spoilt


def test_three_are_kept_aside(
    db: CatalogDb, reopen: OpenDb, caplog: pytest.LogCaptureFixture
) -> None:
    """The last three."""
    path = file_of(db)
    for _ in range(5):
        db.close()
        damage_header(path)
        db = reopen()
    aside = sorted(found.name for found in path.parent.glob("*.set-aside-*"))
    assert aside == [f"{path.name}.set-aside-{number}" for number in (3, 4, 5)]


#: For each version, the statements that take the later changes out of a new file.
SINCE = {
    1: ("DROP TABLE lease", "ALTER TABLE library DROP COLUMN where_works"),
    2: ("DROP TABLE caption",),
    3: ("ALTER TABLE library DROP COLUMN lists_sources",),
    4: ("DROP TABLE folder_time",),
    5: (
        "ALTER TABLE full_sync RENAME TO walk",
        "ALTER TABLE library RENAME COLUMN full_sync_at_s TO full_walk_at_s",
        "ALTER TABLE library RENAME COLUMN empty_full_syncs TO empty_walks",
    ),
    6: ("UPDATE asset SET inode = inode | (1 << 31)",),
    7: ("ALTER TABLE library DROP COLUMN imported_sync_s",),
    8: ("DROP TABLE saved_listing",),
}


@pytest.mark.parametrize("version", SINCE)
def test_an_older_file_is_migrated(
    db: CatalogDb, reopen: OpenDb, caplog: pytest.LogCaptureFixture, version: int
) -> None:
    """It ends up with the tables of a new one and the content of the old one."""
    walk(db, [made("E1"), made("E2")])
    give_names(db, MODE, file_names)
    db.write(save_folder_times, "flat", {1: FolderTime(5, 6)}, ())
    path = file_of(db)
    db.close()
    with closing(sqlite3.connect(path)) as connection:
        fresh = shape_of(connection)
    missing = [step for since, steps in SINCE.items() if since >= version for step in steps]
    change(path, *missing, f"PRAGMA user_version = {version}")
    again = reopen()
    assert names(again) == {"E1": "E1.mov", "E2": "E2.mov"}
    again.write(state.mark_synced, again.clock.now(), full=False, where_works=False)
    assert again.read(state.sync_state).where_works == 0
    assert Lease(again, "sync", 30, "A").take()
    assert [asked.embed_code for asked in again.read(captions.pending, 9, ["video"])] == [
        "E2",
        "E1",
    ]
    again.close()
    with closing(sqlite3.connect(path)) as connection:
        assert shape_of(connection) == fresh
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        for code, inode in connection.execute("SELECT embed_code, inode FROM asset"):
            assert inode == inode_of(code)
        times = connection.execute("SELECT inode FROM folder_time").fetchall()
        assert times == ([(1,)] if version > 6 else [])
    assert warnings_in(caplog) == []


def test_a_migration_that_fails_leaves_the_old_file(
    db: CatalogDb, reopen: OpenDb, caplog: pytest.LogCaptureFixture
) -> None:
    """All of its steps are one transaction; the file is set aside as it was."""
    path = file_of(db)
    db.close()
    # The lease table is there, so making it fails.
    change(path, "PRAGMA user_version = 1")
    before = path.read_bytes()
    assert reopen().path == path
    assert path.with_name(f"{path.name}.set-aside-1").read_bytes() == before


def test_an_account_that_could_be_a_path_is_none(reopen: OpenDb, tmp_path: Path) -> None:
    """Only its digest gets into the name, whatever somebody configures."""
    db = reopen(account="../../etc/passwd?mode=memory#%00")
    assert file_of(db).parent == tmp_path / "catalog"


def test_odd_folders_work(reopen: OpenDb, tmp_path: Path) -> None:
    """SQLite is given a URI, in which these mean something."""
    folder = tmp_path / "a?b#c %41é"
    db = reopen(folder)
    walk(db, [made("E1")])
    assert file_of(db).is_file()
    assert file_of(db).is_relative_to(folder)
