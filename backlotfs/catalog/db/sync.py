# SPDX-License-Identifier: Apache-2.0
"""Writes syncs into the database: a full sync page by page, an incremental sync at once.

Theory of operation. Records are staged in a table and then merged into the library with a few
statements. The pages of a full sync are staged in `STAGED`. Each page is stored together with the
cursor after it, so an interrupted full sync continues after the last stored page. All pages become
the library in one transaction. The records of an incremental sync are staged in `INCOMING` and
merged in one transaction. If a full sync is in progress, they are also written to `STAGED`, because
they are newer than its pages.

A staged row that equals the library's record has no body, so a full sync of an unchanged library
writes little. The merge iterates over the staged rows; ``CROSS JOIN`` keeps SQLite, which has no
statistics, from iterating over the library instead.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from backlotfs.api.records import Asset, DeletedAsset
from backlotfs.catalog.db.assets import documents_of
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.rows import (
    EmptyListingDoubted,
    FullSyncCursor,
    FullSyncLost,
    FullSyncTaken,
    SyncResult,
    inode_of,
)
from backlotfs.catalog.db.schema import STAGED_COLUMNS
from backlotfs.catalog.db.state import generation, set_generation

#: An interrupted full sync can be continued for this long.
FULL_SYNC_LIFETIME_S = 86_400.0
#: The table for the pages of a full sync …
STAGED = "staged"
#: … and the temporary table for the records of an incremental sync.
INCOMING = "incoming"
#: The name mode whose names depend only on the record (`--names always-id`).
DERIVED_MODE = "always-id"
#: Number of deletions kept for other mounts; a mount that missed more loads all rows.
KEPT_TOMBSTONES = 20_000

_COLUMNS = "embed_code, inode, asset_type, status, created_at_s, updated_at_s"


class FullSync:
    """The full sync in progress; one thread of one mount runs it at a time (a lease)."""

    def __init__(self, db: CatalogDb) -> None:
        self._db = db
        # The epoch of the file with the staged pages, which are lost with that file.
        self._epoch: int | None = None
        # When the full sync of the next page began; None: the next page begins a full sync.
        self._started_at_s: float | None = None

    def cursor(self) -> FullSyncCursor | None:
        """The cursor of an interrupted full sync; a full sync over a day old is abandoned."""

        def work(connection: sqlite3.Connection) -> FullSyncCursor | None:
            self._epoch = self._db.epoch
            return _cursor(connection)

        cursor = self._db.read(work)
        self._started_at_s = None if cursor is None else cursor.started_at_s
        # a full sync with a start in the future was begun under another clock
        if cursor is None or 0 <= self._db.clock.now() - cursor.started_at_s < FULL_SYNC_LIFETIME_S:
            return cursor
        self.abandon()
        return None

    def staged(self) -> tuple[int, int]:
        """The number of staged assets, and the length of their stored record bodies."""
        return self._db.read(_staged)

    def add(self, assets: Sequence[Asset], next_page: str | None) -> int:
        """Stage a page, and the URL of the next one.

        The first page begins a full sync, or continues the one of `cursor`.

        :returns: how many of the assets are new in this full sync.
        :raises FullSyncLost: the earlier pages are lost; this page was not stored.
        :raises FullSyncTaken: another process has finished or replaced the full sync, because the
            lease ended during the wait for a page; this page was not stored.
        """
        now_s = self._db.clock.now()

        def work(connection: sqlite3.Connection) -> tuple[int, float]:
            self._check()
            started_at_s = _started_at_s(connection)
            if self._started_at_s not in (None, started_at_s):
                raise FullSyncTaken("another mount has finished this listing meanwhile")
            new = _add_page(connection, assets, next_page, now_s)
            return new, now_s if started_at_s is None else started_at_s

        new, self._started_at_s = self._db.write(work)
        return new

    def abandon(self) -> None:
        """Delete the staged pages; the library is unchanged."""
        self._epoch = self._started_at_s = None
        self._db.write(abandon)

    def finish(self, *, doubt_empty: bool) -> SyncResult:
        """Merge the staged pages into the library and remove all other assets.

        Do nothing if another mount has finished the full sync. Changes and deletions that `apply`
        made since the full sync began are kept.

        :param doubt_empty: whether an empty listing is not accepted the first time, if the library
            is not empty.
        :raises EmptyListingDoubted: the listing is empty for the first time; the staged pages are
            deleted, and the library is unchanged.
        :raises FullSyncLost: the pages and the library are lost.
        :raises FullSyncTaken: the staged pages are those of another process.
        """
        now_s = self._db.clock.now()

        def work(connection: sqlite3.Connection) -> SyncResult | None:
            self._check()
            if self._started_at_s is not None:
                started_at_s = _started_at_s(connection)
                if started_at_s not in (None, self._started_at_s):
                    raise FullSyncTaken("another mount lists the library anew meanwhile")
            return _finish(connection, now_s, doubt_empty=doubt_empty)

        result = self._db.write(work)
        self._epoch = self._started_at_s = None
        if result is None:
            raise EmptyListingDoubted("the API lists no asset where there were some before")
        return result

    def _check(self) -> None:
        """Check that the staged pages are still there; call it inside the transaction.

        After damage the transaction runs again, in another epoch.
        """
        begun_in, self._epoch = self._epoch, self._db.epoch
        if begun_in not in (None, self._epoch):
            self._epoch = None
            raise FullSyncLost("the catalog was replaced by an empty one during the full sync")


def apply(
    connection: sqlite3.Connection,
    assets: Sequence[Asset],
    deleted: Sequence[DeletedAsset],
    *,
    synced_at_s: float,
) -> SyncResult:
    """Apply an incremental sync: new and changed records, then deletions.

    A deletion is applied only if it is not earlier than the record's ``created_at`` and
    ``updated_at``, because an embed code may be used again. A record whose ``updated_at`` changed
    keeps its size, ETag and mtime, but is no longer verified.

    :param synced_at_s: wall time of the sync's first request.
    """
    number = generation(connection) + 1
    _begin_incoming(connection)
    _stage(connection, INCOMING, assets)
    merged = _merge(connection, INCOMING, number)
    if _cursor(connection) is not None:
        connection.execute(
            "INSERT INTO staged SELECT NULL, embed_code, inode, asset_type, status, created_at_s,"
            f" updated_at_s, NULL, NULL FROM {INCOMING} WHERE true ON CONFLICT (embed_code)"
            " DO UPDATE SET updated_at_s = excluded.updated_at_s, body = NULL, labels = NULL"
        )
    doomed = _deleted(connection, deleted)
    _remove(connection, doomed, number)
    connection.executemany(
        "DELETE FROM staged WHERE embed_code = ?", [(asset.embed_code,) for asset in doomed]
    )
    newest = max((asset.updated_at_s for asset in assets), default=0)
    connection.execute(
        "UPDATE library SET synced_at_s = iif(full_sync_at_s > 0, ?, 0),"
        " high_water_s = max(high_water_s, ?), deleted_seen_s = max(deleted_seen_s, ?)",
        (
            synced_at_s,
            min(newest, int(synced_at_s)),
            max((gone.deleted_at_s for gone in deleted), default=0),
        ),
    )
    return _result(connection, merged, doomed, number)


def _cursor(connection: sqlite3.Connection) -> FullSyncCursor | None:
    """The cursor of the full sync in progress, of any age."""
    row = connection.execute("SELECT next_page, started_at_s, pages FROM full_sync").fetchone()
    return None if row is None else FullSyncCursor(*row)


def _started_at_s(connection: sqlite3.Connection) -> float | None:
    cursor = _cursor(connection)
    return None if cursor is None else cursor.started_at_s


def _add_page(
    connection: sqlite3.Connection, assets: Sequence[Asset], next_page: str | None, now_s: float
) -> int:
    before = _last_staged(connection)
    _stage(connection, STAGED, assets)
    connection.execute(
        "INSERT INTO full_sync VALUES (1, ?, ?, 1) ON CONFLICT (only)"
        " DO UPDATE SET next_page = excluded.next_page, pages = pages + 1",
        (next_page, now_s),
    )
    return _last_staged(connection) - before


def _staged(connection: sqlite3.Connection) -> tuple[int, int]:
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(body)), 0) FROM staged"
    ).fetchone()
    return count, size


def _last_staged(connection: sqlite3.Connection) -> int:
    # an asset that was staged before keeps its row: ids count those that were not
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM staged").fetchone()
    return int(last)


def abandon(connection: sqlite3.Connection) -> None:
    """Delete the pages of the full sync in progress."""
    connection.execute("DELETE FROM staged")
    connection.execute("DELETE FROM full_sync")


def _finish(
    connection: sqlite3.Connection, now_s: float, *, doubt_empty: bool
) -> SyncResult | None:
    """Merge the staged pages; None if the listing is empty for the first time and doubted."""
    cursor = _cursor(connection)
    if cursor is None:
        # Another mount has finished the full sync, or it was too old: nothing to do.
        return SyncResult((), (), (), (), generation(connection))
    vanished = not _exists(connection, STAGED) and _exists(connection, "asset")
    doubted = vanished and doubt_empty and not _doubted_before(connection)
    connection.execute("UPDATE library SET empty_full_syncs = ?", (doubted,))
    if doubted:
        abandon(connection)
        return None
    result = replace_by_staged(connection)
    connection.execute(
        "UPDATE library SET synced_at_s = :now, full_sync_at_s = :now, high_water_s ="
        " min((SELECT coalesce(max(updated_at_s), 0) FROM asset), :started)",
        {"now": now_s, "started": int(cursor.started_at_s)},
    )
    return result


def replace_by_staged(connection: sqlite3.Connection) -> SyncResult:
    """Merge the staged records into the library; remove all other assets and the staged pages."""
    number = generation(connection) + 1
    merged = _merge(connection, STAGED, number)
    doomed = [
        _Doomed(*row)
        for row in connection.execute(
            "SELECT id, embed_code FROM asset a WHERE NOT EXISTS"
            " (SELECT 1 FROM staged s WHERE s.embed_code = a.embed_code)"
        )
    ]
    _remove(connection, doomed, number)
    abandon(connection)
    return _result(connection, merged, doomed, number)


def _deleted(connection: sqlite3.Connection, deleted: Sequence[DeletedAsset]) -> list[_Doomed]:
    """The assets that were deleted and not created again with the same embed code.

    A change in the second of the deletion counts as earlier: one script often edits and then
    deletes, but an embed code is not used again within a second.
    """
    doomed: dict[int, _Doomed] = {}
    for gone in deleted:
        row = connection.execute(
            "SELECT id, embed_code FROM asset WHERE embed_code = ?"
            " AND max(created_at_s, updated_at_s) <= ?",
            (gone.embed_code, gone.deleted_at_s),
        ).fetchone()
        if row is not None:
            doomed[row[0]] = _Doomed(*row)
    return list(doomed.values())


def _result(
    connection: sqlite3.Connection, merged: _Merged, doomed: Sequence[_Doomed], number: int
) -> SyncResult:
    result = SyncResult(*merged, tuple(asset.embed_code for asset in doomed), number)
    if result.is_empty:
        # Nothing changed for other mounts.
        return result._replace(generation=number - 1)
    set_generation(connection, number)
    return result


def _exists(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None


def _doubted_before(connection: sqlite3.Connection) -> bool:
    (times,) = connection.execute("SELECT empty_full_syncs FROM library").fetchone()
    return bool(times)


class _Merged(NamedTuple):
    """The embed codes for a `rows.SyncResult`."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    touched: tuple[str, ...]


class _Doomed(NamedTuple):
    """An asset to remove from the library."""

    id: int
    embed_code: str


def _begin_incoming(connection: sqlite3.Connection) -> None:
    """Create an empty `INCOMING` table."""
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {INCOMING} {STAGED_COLUMNS}")
    connection.execute(f"DELETE FROM {INCOMING}")


def _stage(
    connection: sqlite3.Connection,
    table: str,
    assets: Iterable[Asset],
) -> None:
    """Write records into ``table``; of two records of an asset the later one is kept."""
    remaining = iter(assets)
    while batch := list(itertools.islice(remaining, 500)):
        known = _known(connection, [asset.embed_code for asset in batch])
        connection.executemany(
            f"INSERT INTO {table} ({_COLUMNS}, body, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (embed_code) DO UPDATE SET asset_type = excluded.asset_type,"
            " status = excluded.status, created_at_s = excluded.created_at_s,"
            " updated_at_s = excluded.updated_at_s, body = excluded.body,"
            " labels = excluded.labels WHERE excluded.updated_at_s >= updated_at_s",
            [_staged_row(asset, known.get(asset.embed_code)) for asset in batch],
        )


def _merge(connection: sqlite3.Connection, table: str, number: int) -> _Merged:
    """Merge the records of ``table`` into the library; remove nothing."""
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS merging (id INTEGER PRIMARY KEY, staged INTEGER NOT NULL,"
        " embed_code TEXT NOT NULL, touched INTEGER NOT NULL)"
    )
    connection.execute("DELETE FROM merging")
    connection.execute(
        "INSERT INTO merging SELECT a.id, s.id, s.embed_code, a.updated_at_s <> s.updated_at_s"
        f" FROM {table} s CROSS JOIN asset a ON a.embed_code = s.embed_code"
        " WHERE s.body IS NOT NULL"
    )
    connection.execute(
        "UPDATE asset SET (asset_type, status, created_at_s, updated_at_s, verified) ="
        " (SELECT s.asset_type, s.status, s.created_at_s, s.updated_at_s,"
        f" asset.verified AND NOT m.touched FROM merging m CROSS JOIN {table} s ON s.id = m.staged"
        " WHERE m.id = asset.id), changed_in = ? WHERE id IN (SELECT id FROM merging)",
        (number,),
    )
    connection.execute(
        "UPDATE record SET (body, labels) = (SELECT s.body, coalesce(s.labels, record.labels)"
        f" FROM merging m CROSS JOIN {table} s ON s.id = m.staged WHERE m.id = record.id)"
        " WHERE id IN (SELECT id FROM merging)"
    )
    _forget_derived_names(connection)
    first_new = _next_id(connection)
    connection.execute(
        f"INSERT INTO asset ({_COLUMNS}, changed_in) SELECT {_COLUMNS}, ? FROM {table} s"
        " WHERE s.body IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM asset a WHERE a.embed_code = s.embed_code) ORDER BY s.id",
        (number,),
    )
    connection.execute(
        f"INSERT INTO record SELECT a.id, s.body, s.labels FROM asset a CROSS JOIN {table} s"
        " ON s.embed_code = a.embed_code WHERE a.id >= ?",
        (first_new,),
    )
    connection.execute(
        "DELETE FROM tombstone WHERE EXISTS"
        " (SELECT 1 FROM asset a WHERE a.embed_code = tombstone.embed_code AND a.id >= ?)",
        (first_new,),
    )
    _merge_labels(connection, table, first_new)
    added = _codes(connection, "SELECT embed_code FROM asset WHERE id >= ?", first_new)
    changed = _codes(connection, "SELECT embed_code FROM merging WHERE touched >= ?", 0)
    touched = _codes(connection, "SELECT embed_code FROM merging WHERE touched >= ?", 1)
    return _Merged(added, changed, touched)


def _remove(connection: sqlite3.Connection, doomed: Sequence[_Doomed], number: int) -> None:
    """Remove assets and their names from the library; keep tombstones for a while."""
    if not doomed:
        return
    ids = [(asset.id,) for asset in doomed]
    for statement in (
        "DELETE FROM asset WHERE id = ?",
        "DELETE FROM record WHERE id = ?",
        "DELETE FROM given_name WHERE asset_id = ?",
        "DELETE FROM asset_label WHERE asset_id = ?",
        "DELETE FROM caption WHERE asset_id = ?",
    ):
        connection.executemany(statement, ids)
    connection.executemany(
        "INSERT OR REPLACE INTO tombstone VALUES (?, ?)",
        [(asset.embed_code, number) for asset in doomed],
    )
    cut = connection.execute(
        "SELECT removed_in FROM tombstone ORDER BY removed_in DESC LIMIT 1 OFFSET ?",
        (KEPT_TOMBSTONES,),
    ).fetchone()
    if cut is not None:
        connection.execute("DELETE FROM tombstone WHERE removed_in <= ?", cut)
        connection.execute("UPDATE library SET tombstone_floor = ?", cut)


def _forget_derived_names(connection: sqlite3.Connection) -> None:
    """Delete names that depend only on the record, because the record has changed."""
    forgotten = connection.execute(
        "DELETE FROM given_name WHERE mode = ? AND asset_id IN (SELECT id FROM merging)",
        (DERIVED_MODE,),
    ).rowcount
    if forgotten:
        connection.execute("UPDATE naming SET named_up_to = 0 WHERE mode = ?", (DERIVED_MODE,))


def _merge_labels(connection: sqlite3.Connection, table: str, first_new: int) -> None:
    """Store the labels of assets whose records include them; other assets keep their labels."""
    listed = f"FROM {table} s CROSS JOIN asset a ON a.embed_code = s.embed_code"
    known = "s.body IS NOT NULL AND s.labels IS NOT NULL"
    connection.execute(
        f"DELETE FROM asset_label WHERE asset_id IN (SELECT a.id {listed}"
        f" WHERE {known} AND a.id < ?)",
        (first_new,),
    )
    connection.execute(
        "INSERT OR IGNORE INTO asset_label SELECT a.id, json_extract(label.value, '$.id')"
        f" {listed} CROSS JOIN json_each(s.labels) label WHERE {known}"
    )


def _known(
    connection: sqlite3.Connection, codes: Sequence[str]
) -> dict[str, tuple[str, str, int, int, str, str | None]]:
    marks = ",".join("?" * len(codes))
    found = connection.execute(
        "SELECT a.embed_code, a.asset_type, a.status, a.created_at_s, a.updated_at_s,"
        " r.body, r.labels FROM asset a JOIN record r ON r.id = a.id"
        f" WHERE a.embed_code IN ({marks})",
        codes,
    )
    return {row[0]: row[1:] for row in found}


def _staged_row(
    asset: Asset,
    known: tuple[str, str, int, int, str, str | None] | None,
) -> tuple[object, ...]:
    body, labels = documents_of(asset)
    columns = (asset.asset_type, asset.status, asset.created_at_s, asset.updated_at_s)
    # Records without labels do not change the stored labels.
    if known is not None and known == (*columns, body, known[5] if labels is None else labels):
        return (asset.embed_code, 0, *columns, None, None)
    return (asset.embed_code, inode_of(asset.embed_code), *columns, body, labels)


def _next_id(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'asset'").fetchone()
    return 1 if row is None else int(row[0]) + 1


def _codes(connection: sqlite3.Connection, query: str, parameter: int) -> tuple[str, ...]:
    return tuple(code for (code,) in connection.execute(query, (parameter,)))
