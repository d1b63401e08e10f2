# SPDX-License-Identifier: Apache-2.0
"""A snapshot of the library: records, results of probes, names, captions and times of folders.

A snapshot is a database with the catalog's tables. Only the tables that another machine needs are
filled: there are no leases, no full sync in progress and no page URLs. URLs of preview images that
could be signed are removed. So a snapshot has no secret. Its only URLs are unsigned ones of preview
images, and those in titles, descriptions, metadata and captions. `merge` treats a snapshot like a
full sync that was made when the exporting machine synced last. Sizes, names and captions that this
machine has are kept, and so are the URLs of preview images that were removed from the snapshot.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from backlotfs.catalog.db import state
from backlotfs.catalog.db.names import mark_named
from backlotfs.catalog.db.rows import SyncResult, SyncState
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.db.sync import abandon, replace_by_staged

#: The identity in every snapshot. The digest of its library is written beside the snapshot.
NO_LIBRARY = LibraryIdentity("", "")

#: A URL with a query or a user part may be signed: hosts name the fields of signatures differently.
_PUBLIC_BODY = (
    "iif(instr(coalesce(json_extract(body, '$.preview_image_url'), ''), '?')"
    " OR instr(coalesce(json_extract(body, '$.preview_image_url'), ''), '@'),"
    " json_remove(body, '$.preview_image_url'), body)"
)
#: The tables and columns that are copied into a snapshot.
_TABLES: Mapping[str, str] = {
    "asset": "id, embed_code, inode, asset_type, status, created_at_s, updated_at_s, size, etag,"
    " last_modified, mtime_s, verified, missing, changed_in",
    "record": "id, body, labels",
    "given_name": "asset_id, mode, name, name_key",
    "label": "position, id, name, full_name, parent_id",
    "caption": "asset_id, asked_of, kind, size, body",
    "folder_time": "view, inode, entries, mtime_s",
}
_SYNC_STATE = (
    "synced_at_s, full_sync_at_s, high_water_s, deleted_seen_s, where_works, lists_sources"
)


class NewerListing(Exception):
    """The catalog was synced after the snapshot, so a merge would restore an older state.

    :ivar synced_at_s: when the catalog was synced.
    """

    def __init__(self, synced_at_s: float) -> None:
        super().__init__("the catalog is newer")
        self.synced_at_s = synced_at_s


class DamagedSnapshot(Exception):
    """The snapshot cannot be read to its end."""


def copy_library(connection: sqlite3.Connection, snapshot: sqlite3.Connection) -> SyncState:
    """Copy the library into an empty snapshot, in one transaction; return the state of syncs.

    Nothing is copied before the first full sync is finished: see `SyncState.full_sync_at_s`.
    """
    found = state.sync_state(connection)
    if not found.full_sync_at_s:
        return found
    for table, columns in _TABLES.items():
        chosen = columns.replace("body", _PUBLIC_BODY) if table == "record" else columns
        rows = connection.execute(f"SELECT {chosen} FROM {table}")
        _insert(snapshot, table, columns, rows)
    known = connection.execute(f"SELECT {_SYNC_STATE} FROM library").fetchone()
    snapshot.execute(f"UPDATE library SET ({_SYNC_STATE}) = (?, ?, ?, ?, ?, ?)", known)
    return found


def merge(connection: sqlite3.Connection, snapshot: sqlite3.Connection, now_s: float) -> SyncResult:
    """Replace the content of the library by that of the snapshot.

    :param now_s: wall time; later times in the snapshot count as this time.
    :raises NewerListing: the library was synced after the snapshot.
    :raises DamagedSnapshot: the snapshot cannot be read to its end; undo the transaction.
    """
    try:
        theirs, labels = state.sync_state(snapshot), state.labels(snapshot)
    except sqlite3.Error as error:
        raise DamagedSnapshot(str(error)) from error
    ours = state.sync_state(connection)
    if ours.synced_at_s > min(theirs.synced_at_s, now_s):
        raise NewerListing(ours.synced_at_s)
    abandon(connection)
    _stage(connection, snapshot)
    result = replace_by_staged(connection)
    number = state.generation(connection) + 1
    state.set_generation(connection, number)
    _take_sizes(connection, snapshot, number)
    _take_names(connection, snapshot, number)
    _take_captions(connection, snapshot)
    _take_folder_times(connection, snapshot)
    if labels:  # a machine that needs no labels does not fetch them
        state.set_labels(connection, labels)
    synced_at_s = min(theirs.synced_at_s, now_s)
    connection.execute(
        "UPDATE library SET synced_at_s = :synced, imported_sync_s = :synced,"
        " full_sync_at_s = :full, high_water_s = :high_water, deleted_seen_s = :deleted,"
        " where_works = coalesce(:where_works, where_works),"
        " lists_sources = coalesce(:lists_sources, lists_sources), empty_full_syncs = 0",
        {
            "synced": synced_at_s,
            "full": min(theirs.full_sync_at_s, synced_at_s),
            "high_water": theirs.high_water_s,
            "deleted": theirs.deleted_seen_s,
            "where_works": theirs.where_works,
            "lists_sources": theirs.lists_sources,
        },
    )
    return result


def _rows(snapshot: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...]]:
    """The rows of a query.

    :raises DamagedSnapshot: not an error of sqlite3, which would be taken for one of the catalog.
    """
    try:
        yield from snapshot.execute(query)
    except sqlite3.Error as error:
        raise DamagedSnapshot(str(error)) from error


def _insert(
    connection: sqlite3.Connection, table: str, columns: str, rows: Iterable[tuple[object, ...]]
) -> None:
    marks = ", ".join("?" * len(columns.split(",")))
    connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


def _stage(connection: sqlite3.Connection, snapshot: sqlite3.Connection) -> None:
    """Stage the snapshot's records; one that equals the library's has no body, as in a sync."""
    columns = "embed_code, inode, asset_type, status, created_at_s, updated_at_s, body, labels"
    _insert(
        connection,
        "staged",
        columns,
        _rows(snapshot, f"SELECT {columns} FROM asset JOIN record USING (id) ORDER BY id"),
    )
    connection.execute(
        "UPDATE staged SET body = r.body FROM asset a JOIN record r ON r.id = a.id"
        " WHERE a.embed_code = staged.embed_code AND a.updated_at_s = staged.updated_at_s"
        f" AND r.body <> staged.body AND {_PUBLIC_BODY.replace('body', 'r.body')} = staged.body"
    )
    connection.execute(
        "UPDATE staged SET body = NULL, labels = NULL WHERE EXISTS (SELECT 1 FROM asset a"
        " JOIN record r ON r.id = a.id WHERE a.embed_code = staged.embed_code"
        " AND a.asset_type = staged.asset_type AND a.status = staged.status"
        " AND a.created_at_s = staged.created_at_s AND a.updated_at_s = staged.updated_at_s"
        " AND r.body = staged.body AND r.labels IS coalesce(staged.labels, r.labels))"
    )


def _take_sizes(connection: sqlite3.Connection, snapshot: sqlite3.Connection, number: int) -> None:
    """Take the results of probes, except where the library has one that is still valid."""
    connection.executemany(
        "UPDATE asset SET size = ?1, etag = ?2, last_modified = ?3, mtime_s = ?4, verified = ?5,"
        f" missing = ?6, changed_in = {number} WHERE embed_code = ?7 AND verified = 0"
        " AND (?5 OR (size < 0 AND NOT missing))",
        _rows(
            snapshot,
            "SELECT size, etag, last_modified, mtime_s, verified, missing, embed_code FROM asset"
            " WHERE verified OR missing OR size >= 0",
        ),
    )


def _take_names(connection: sqlite3.Connection, snapshot: sqlite3.Connection, number: int) -> None:
    """Give each asset the name that it has in the snapshot, unless it or another has one here."""
    modes = [str(mode) for (mode,) in _rows(snapshot, "SELECT DISTINCT mode FROM given_name")]
    connection.executemany(
        f"UPDATE asset SET changed_in = {number} WHERE NOT EXISTS"
        " (SELECT 1 FROM given_name WHERE asset_id = id AND mode = ?)",
        [(mode,) for mode in modes],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO given_name (asset_id, mode, name, name_key)"
        " SELECT id, ?1, ?2, ?3 FROM asset WHERE embed_code = ?4",
        _rows(
            snapshot,
            "SELECT mode, name, name_key, embed_code FROM given_name JOIN asset ON id = asset_id",
        ),
    )
    for mode in modes:
        mark_named(connection, mode)


def _take_captions(connection: sqlite3.Connection, snapshot: sqlite3.Connection) -> None:
    """Take captions that were not fetched here, or were fetched here for an older record."""
    connection.executemany(
        "INSERT OR REPLACE INTO caption (asset_id, asked_of, kind, size, body)"
        " SELECT id, ?1, ?2, ?3, ?4 FROM asset a WHERE embed_code = ?5 AND NOT EXISTS"
        " (SELECT 1 FROM caption c WHERE c.asset_id = a.id AND c.asked_of >= ?1)",
        _rows(
            snapshot,
            "SELECT asked_of, kind, c.size, body, embed_code FROM caption c"
            " JOIN asset a ON a.id = c.asset_id",
        ),
    )


def _take_folder_times(connection: sqlite3.Connection, snapshot: sqlite3.Connection) -> None:
    """Take the times of folders of the views that no mount here has shown."""
    known = {view for (view,) in connection.execute("SELECT DISTINCT view FROM folder_time")}
    columns = _TABLES["folder_time"]
    rows = _rows(snapshot, f"SELECT {columns} FROM folder_time")
    _insert(connection, "folder_time", columns, (row for row in rows if row[0] not in known))
