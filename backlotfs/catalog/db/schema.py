# SPDX-License-Identifier: Apache-2.0
"""The schema of the database, its migrations, and the check that a file is a catalog.

Invariants, which every transaction keeps:

* An `asset` has one `record`; `given_name`, `asset_label` and `caption` rows have an asset.
* `asset.id` is never used again, so "named up to this id" and the order of ids can be relied on.
* `asset.changed_in` is the generation that last changed the row, its record, labels or names.
* An embed code is in `asset` or in `tombstone`, never in both. Tombstones are complete for every
  generation after `library.tombstone_floor`.
* `tally` equals the sums over `asset`; triggers ensure this.
* No two names of a mode have the same `name_key`.
* There are `staged` rows only while there is a `full_sync` row. A staged row without a body means
  that the library already has the same record of this asset.
* `saved_listing` is a copy of the rows in its generation. A migration that changes rows without a
  new generation has to empty it.
* No column has a signed URL of a source. The URL of a preview image is stored as the API gives it,
  and the texts of records and captions may contain any URL.
"""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

#: "BLFS": identifies our databases, for us and for ``file``.
APPLICATION_ID = 0x424C4653
VERSION = 9

# `asset` has only the columns that rows() reads, so that 100 000 rows are read quickly. Fields
# that no query selects by are one JSON document, so a new API field needs no migration.
_ASSET = """CREATE TABLE asset (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    embed_code TEXT NOT NULL UNIQUE,
    inode INTEGER NOT NULL,
    asset_type TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at_s INTEGER NOT NULL,
    updated_at_s INTEGER NOT NULL,
    size INTEGER NOT NULL DEFAULT -1,
    etag TEXT,
    last_modified TEXT,
    mtime_s INTEGER NOT NULL DEFAULT 0,
    verified INTEGER NOT NULL DEFAULT 0,
    missing INTEGER NOT NULL DEFAULT 0,
    changed_in INTEGER NOT NULL
)"""

#: The source was never probed, or was found missing and the record was changed since. Queries
#: contain exactly this text, so that SQLite uses the index.
UNSIZED = "size < 0 AND (missing = 0 OR verified = 0)"
#: The size is known, but the source may have been replaced since.
UNVERIFIED = "size >= 0 AND verified = 0"

#: The columns of `staged`, and of the temporary table for the records of an incremental sync.
STAGED_COLUMNS = """(
    id INTEGER PRIMARY KEY,
    embed_code TEXT NOT NULL UNIQUE,
    inode INTEGER NOT NULL,
    asset_type TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at_s INTEGER NOT NULL,
    updated_at_s INTEGER NOT NULL,
    body TEXT,
    labels TEXT
)"""

_LEASE = """CREATE TABLE lease (
    name TEXT PRIMARY KEY, owner TEXT NOT NULL, taken_at_s REAL NOT NULL, seconds REAL NOT NULL
) WITHOUT ROWID"""

# One row for each asset whose captions were fetched: see `captions`. `size` is the size of the
# uncompressed body. `asked_of` is the record's `updated_at` at the fetch.
_CAPTION = """CREATE TABLE caption (
    asset_id INTEGER PRIMARY KEY,
    asked_of INTEGER NOT NULL,
    kind TEXT,
    size INTEGER NOT NULL,
    body BLOB
)"""

_FOLDER_TIME = """CREATE TABLE folder_time (
    view TEXT NOT NULL, inode INTEGER NOT NULL, entries INTEGER NOT NULL, mtime_s INTEGER NOT NULL,
    PRIMARY KEY (view, inode)
) WITHOUT ROWID"""

# The listing at the end of a mount: see `saved_listing`.
_SAVED_LISTING = """CREATE TABLE saved_listing (
    position INTEGER PRIMARY KEY, view TEXT NOT NULL, generation INTEGER NOT NULL,
    checksum INTEGER NOT NULL, body BLOB NOT NULL
)"""

# Sums are kept in a tally, because statfs and the progress display need them often, and to sum a
# million rows takes 50 ms.
_TALLIES = tuple(
    f"CREATE TRIGGER tally_{name} AFTER {event} ON asset BEGIN UPDATE tally SET {change}; END"
    for name, event, change in (
        (
            "insert",
            "INSERT",
            "total = total + 1, sized = sized + (NEW.size >= 0),"
            " missing = missing + NEW.missing, bytes = bytes + max(NEW.size, 0)",
        ),
        (
            "delete",
            "DELETE",
            "total = total - 1, sized = sized - (OLD.size >= 0),"
            " missing = missing - OLD.missing, bytes = bytes - max(OLD.size, 0)",
        ),
        (
            "update",
            "UPDATE OF size, missing",
            "sized = sized + (NEW.size >= 0) - (OLD.size >= 0),"
            " missing = missing + NEW.missing - OLD.missing,"
            " bytes = bytes + max(NEW.size, 0) - max(OLD.size, 0)",
        ),
    )
)

_TABLES = (
    """CREATE TABLE library (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    api_url TEXT NOT NULL,
    account TEXT NOT NULL,
    generation INTEGER NOT NULL,
    tombstone_floor INTEGER NOT NULL,
    synced_at_s REAL NOT NULL DEFAULT 0,
    full_sync_at_s REAL NOT NULL DEFAULT 0,
    high_water_s INTEGER NOT NULL DEFAULT 0,
    deleted_seen_s INTEGER NOT NULL DEFAULT 0,
    empty_full_syncs INTEGER NOT NULL DEFAULT 0,
    where_works INTEGER,
    lists_sources INTEGER,
    imported_sync_s REAL NOT NULL DEFAULT 0
)""",
    _ASSET,
    f"CREATE INDEX asset_unsized ON asset (created_at_s) WHERE {UNSIZED}",
    f"CREATE INDEX asset_unverified ON asset (created_at_s) WHERE {UNVERIFIED}",
    "CREATE INDEX asset_changed ON asset (changed_in)",
    "CREATE TABLE record (id INTEGER PRIMARY KEY, body TEXT NOT NULL, labels TEXT)",
    """CREATE TABLE given_name (
    asset_id INTEGER NOT NULL,
    mode TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key INTEGER NOT NULL,
    PRIMARY KEY (asset_id, mode)
) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX given_name_key ON given_name (mode, name_key)",
    "CREATE TABLE naming (mode TEXT PRIMARY KEY, named_up_to INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE label (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    full_name TEXT NOT NULL,
    parent_id TEXT
)""",
    """CREATE TABLE asset_label (
    asset_id INTEGER NOT NULL, label_id TEXT NOT NULL, PRIMARY KEY (asset_id, label_id)
) WITHOUT ROWID""",
    "CREATE TABLE tombstone (embed_code TEXT PRIMARY KEY, removed_in INTEGER NOT NULL)"
    " WITHOUT ROWID",
    "CREATE INDEX tombstone_removed ON tombstone (removed_in)",
    """CREATE TABLE full_sync (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    next_page TEXT,
    started_at_s REAL NOT NULL,
    pages INTEGER NOT NULL
)""",
    f"CREATE TABLE staged {STAGED_COLUMNS}",
    """CREATE TABLE tally (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    sized INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    total INTEGER NOT NULL,
    bytes INTEGER NOT NULL
)""",
    *_TALLIES,
    "INSERT INTO tally VALUES (1, 0, 0, 0, 0)",
    _LEASE,
    _CAPTION,
    _FOLDER_TIME,
    _SAVED_LISTING,
)

#: The statements that migrate from each version to the next one.
_MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (_LEASE, "ALTER TABLE library ADD COLUMN where_works INTEGER"),
    2: (_CAPTION,),
    3: ("ALTER TABLE library ADD COLUMN lists_sources INTEGER",),
    4: (_FOLDER_TIME,),
    5: (
        "ALTER TABLE walk RENAME TO full_sync",
        "ALTER TABLE library RENAME COLUMN full_walk_at_s TO full_sync_at_s",
        "ALTER TABLE library RENAME COLUMN empty_walks TO empty_full_syncs",
    ),
    # Bit 31 of an inode number is 0 now, see `hashed_inode`. The times of folders are deleted,
    # because they are stored by inode number.
    6: (
        *(f"UPDATE {table} SET inode = inode & ~(1 << 31)" for table in ("asset", "staged")),
        "DELETE FROM folder_time",
    ),
    # The `synced_at_s` of the last snapshot that was imported.
    7: ("ALTER TABLE library ADD COLUMN imported_sync_s REAL NOT NULL DEFAULT 0",),
    8: (_SAVED_LISTING,),
}


class LibraryIdentity(NamedTuple):
    """Identifies the library of a catalog.

    :ivar api_url: normalised, so that different spellings of a URL are the same library.
    :ivar account: the part of the API key before the dot.
    """

    api_url: str
    account: str

    @classmethod
    def of(cls, api_url: str, account: str) -> LibraryIdentity:
        """Normalise the URL: lower case, no default port, no slash at the end, no user part."""
        parts = urlsplit(api_url.strip())
        host = (
            (parts.hostname or "") if ":" not in (parts.hostname or "") else f"[{parts.hostname}]"
        )
        port = {"http": 80, "https": 443}.get(parts.scheme)
        if parts.port not in (None, port):
            host = f"{host}:{parts.port}"
        return cls(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", account)

    @property
    def digest(self) -> str:
        """The stem of the file's name."""
        return sha256(f"{self.api_url}\n{self.account}".encode()).hexdigest()[:24]


def catalog_path(directory: Path, library: LibraryIdentity) -> Path:
    """The path of a library's database; ``directory`` is the cache directory."""
    return directory / "catalog" / f"{library.digest}.sqlite3"


class UnusableFile(Exception):
    """The file is not damaged, but is no catalog of this library that this version can read."""


def prepare(connection: sqlite3.Connection, library: LibraryIdentity, generation: int) -> None:
    """Create, migrate and check the schema; fast for any size of the file.

    :param generation: the first generation of a new file.
    :raises UnusableFile: the file is another program's, library's or later version's.
    :raises sqlite3.Error: it is damaged, or cannot be read or written.
    """
    version = _version(connection)
    # This mode is stored in the file, so it is set only after the file is known to be ours. (A
    # database in memory has no log.)
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if version != VERSION:
        # Two mounts may start at once: then the second one finds the schema complete.
        connection.execute("BEGIN IMMEDIATE")
        try:
            _create_or_migrate(connection, library, generation)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    _check(connection, library)


def _version(connection: sqlite3.Connection) -> int:
    """The schema version; 0 for an empty file. :raises UnusableFile: foreign, or newer."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, version, tables) == (0, 0, 0):
        return 0
    if application != APPLICATION_ID or version < 1:
        raise UnusableFile("it belongs to another program")
    if version > VERSION:
        raise UnusableFile(f"a later version of backlotfs wrote it (format {version})")
    return int(version)


def _create_or_migrate(
    connection: sqlite3.Connection, library: LibraryIdentity, generation: int
) -> None:
    version = _version(connection)
    if version == 0:
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO library (only, api_url, account, generation, tombstone_floor)"
            " VALUES (1, ?, ?, ?, ?)",
            (*library, generation, generation),
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    else:
        for step in range(version, VERSION):
            for statement in _MIGRATIONS[step]:
                connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _check(connection: sqlite3.Connection, library: LibraryIdentity) -> None:
    shape = shape_of(connection)
    if shape != _expected_shape():
        raise UnusableFile("its tables are not those of a catalog")
    row = connection.execute("SELECT api_url, account FROM library").fetchone()
    if row != library:
        raise UnusableFile("it belongs to another library")
    # Read a few pages at the ends of each tree, which fails for a truncated or overwritten file.
    # Other damage is found when it is read, and handled the same way.
    for kind, table in shape:
        if kind == "table" and not table.startswith("sqlite_"):
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()
    for table in ("asset", "record", "staged"):
        connection.execute(f"SELECT * FROM {table} ORDER BY id DESC LIMIT 1").fetchall()


def shape_of(connection: sqlite3.Connection) -> dict[tuple[str, str], tuple[str, ...]]:
    """The kind and name of each object of the schema, with the columns of tables, sorted."""
    return {
        (kind, name): tuple(
            column
            for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))
        )
        for kind, name in connection.execute("SELECT type, name FROM sqlite_master").fetchall()
        if not name.startswith("sqlite_stat")
    }


def _expected_shape() -> dict[tuple[str, str], tuple[str, ...]]:
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _create_or_migrate(fresh, LibraryIdentity("", ""), 0)
        return shape_of(fresh)
    finally:
        fresh.close()
