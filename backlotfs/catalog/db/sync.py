"""Syncs: the full walk, whose pages wait in a staging table, and the incremental answer.

Works inside a write transaction of its caller. A page and the cursor after it are stored together,
so a walk that is killed goes on behind the last page that was stored. The staging becomes the
library in one transaction. What an incremental sync applies while a walk is under way is entered in
the staging as well: it is newer than the page that the walk met.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from backlotfs.api.records import Asset, DeletedAsset
from backlotfs.catalog.db.merge import (
    INCOMING,
    WALK,
    Doomed,
    Merged,
    begin_incoming,
    merge,
    remove,
    stage,
)
from backlotfs.catalog.db.rows import WalkCursor, WalkResult
from backlotfs.catalog.db.state import generation, set_generation

#: An interrupted walk is worth going on with for this long.
WALK_LIFETIME_S = 86_400.0


def cursor(connection: sqlite3.Connection) -> WalkCursor | None:
    """Of the walk under way, however old."""
    row = connection.execute("SELECT next_page, started_at_s, pages FROM walk").fetchone()
    return None if row is None else WalkCursor(*row)


def is_current(walk: WalkCursor, now_s: float) -> bool:
    """Whether to go on with it; one from the future was begun under another clock."""
    return 0 <= now_s - walk.started_at_s < WALK_LIFETIME_S


def add_page(
    connection: sqlite3.Connection,
    assets: Sequence[Asset],
    next_page: str | None,
    *,
    now_s: float,
    inode_of: Callable[[str], int],
) -> int:
    """One more page of the walk under way, or the first of a new one; how many assets are new."""
    before = _last_staged(connection)
    stage(connection, WALK, assets, inode_of)
    connection.execute(
        "INSERT INTO walk VALUES (1, ?, ?, 1) ON CONFLICT (only)"
        " DO UPDATE SET next_page = excluded.next_page, pages = pages + 1",
        (next_page, now_s),
    )
    return _last_staged(connection) - before


def staged(connection: sqlite3.Connection) -> tuple[int, int]:
    """Assets of the walk under way, and about how many bytes they came in."""
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(body)), 0) FROM staged"
    ).fetchone()
    return count, size


def _last_staged(connection: sqlite3.Connection) -> int:
    # an asset that was staged before keeps its row: ids count those that were not
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM staged").fetchone()
    return int(last)


def abandon(connection: sqlite3.Connection) -> None:
    """Forget the walk under way, if there is one."""
    connection.execute("DELETE FROM staged")
    connection.execute("DELETE FROM walk")


def finish(connection: sqlite3.Connection, *, now_s: float, doubt_empty: bool) -> WalkResult | None:
    """The staging becomes the library.

    :returns: None when an empty answer was doubted: only the doubt was stored."""
    walk = cursor(connection)
    if walk is None:
        # Another mount finished it, or it was too old: the library is as it should be.
        return WalkResult((), (), (), (), generation(connection))
    vanished = not _exists(connection, WALK) and _exists(connection, "asset")
    doubted = vanished and doubt_empty and not _doubted_before(connection)
    connection.execute("UPDATE library SET empty_walks = ?", (doubted,))
    if doubted:
        abandon(connection)
        return None
    number = generation(connection) + 1
    merged = merge(connection, WALK, number)
    doomed = [
        Doomed(*row)
        for row in connection.execute(
            "SELECT id, embed_code FROM asset a WHERE NOT EXISTS"
            " (SELECT 1 FROM staged s WHERE s.embed_code = a.embed_code)"
        )
    ]
    remove(connection, doomed, number)
    connection.execute(
        "UPDATE library SET synced_at_s = :now, full_walk_at_s = :now, high_water_s ="
        " min((SELECT coalesce(max(updated_at_s), 0) FROM asset), :started)",
        {"now": now_s, "started": int(walk.started_at_s)},
    )
    abandon(connection)
    return _result(connection, merged, doomed, number)


def apply(
    connection: sqlite3.Connection,
    assets: Sequence[Asset],
    deleted: Sequence[DeletedAsset],
    *,
    synced_at_s: float,
    inode_of: Callable[[str], int],
) -> WalkResult:
    """What changed since the last sync."""
    number = generation(connection) + 1
    begin_incoming(connection)
    stage(connection, INCOMING, assets, inode_of)
    merged = merge(connection, INCOMING, number)
    if cursor(connection) is not None:
        connection.execute(
            "INSERT INTO staged SELECT NULL, embed_code, inode, asset_type, status, created_at_s,"
            f" updated_at_s, NULL, NULL FROM {INCOMING} WHERE true ON CONFLICT (embed_code)"
            " DO UPDATE SET updated_at_s = excluded.updated_at_s, body = NULL, labels = NULL"
        )
    doomed = _deleted(connection, deleted)
    remove(connection, doomed, number)
    connection.executemany(
        "DELETE FROM staged WHERE embed_code = ?", [(asset.embed_code,) for asset in doomed]
    )
    newest = max((asset.updated_at_s for asset in assets), default=0)
    connection.execute(
        "UPDATE library SET synced_at_s = iif(full_walk_at_s > 0, ?, 0),"
        " high_water_s = max(high_water_s, ?), deleted_seen_s = max(deleted_seen_s, ?)",
        (
            synced_at_s,
            min(newest, int(synced_at_s)),
            max((gone.deleted_at_s for gone in deleted), default=0),
        ),
    )
    return _result(connection, merged, doomed, number)


def _deleted(connection: sqlite3.Connection, deleted: Sequence[DeletedAsset]) -> list[Doomed]:
    """Those that are gone for good: a code that was used again since lives on.

    A change in the very second of the deletion came before it: an edit and a deletion by one
    script are likely, a code that is given again within its second is not.
    """
    doomed: dict[int, Doomed] = {}
    for gone in deleted:
        row = connection.execute(
            "SELECT id, embed_code FROM asset WHERE embed_code = ?"
            " AND max(created_at_s, updated_at_s) <= ?",
            (gone.embed_code, gone.deleted_at_s),
        ).fetchone()
        if row is not None:
            doomed[row[0]] = Doomed(*row)
    return list(doomed.values())


def _result(
    connection: sqlite3.Connection, merged: Merged, doomed: Sequence[Doomed], number: int
) -> WalkResult:
    result = WalkResult(*merged, tuple(asset.embed_code for asset in doomed), number)
    if result.is_empty:
        # Other mounts have nothing to look for.
        return result._replace(generation=number - 1)
    set_generation(connection, number)
    return result


def _exists(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None


def _doubted_before(connection: sqlite3.Connection) -> bool:
    (times,) = connection.execute("SELECT empty_walks FROM library").fetchone()
    return bool(times)
