"""The one row about the library as a whole. Works inside a transaction of its caller."""

from __future__ import annotations

import sqlite3

from backlotfs.catalog.db.rows import SizedCounts, SyncState


def state(connection: sqlite3.Connection) -> SyncState:
    """How far the catalog follows the library."""
    row = connection.execute(
        "SELECT generation, synced_at_s, full_walk_at_s, high_water_s, deleted_seen_s, where_works,"
        " lists_sources FROM library"
    ).fetchone()
    return SyncState(*row)


def generation(connection: sqlite3.Connection) -> int:
    """Of the last change."""
    (number,) = connection.execute("SELECT generation FROM library").fetchone()
    return int(number)


def set_generation(connection: sqlite3.Connection, number: int) -> None:
    """Say that rows or labels changed; the same transaction marked them with ``number``."""
    connection.execute("UPDATE library SET generation = ?", (number,))


def mark_synced(
    connection: sqlite3.Connection, now_s: float, *, full: bool, where_works: bool | None
) -> None:
    """A sync ended well at ``now_s`` (wall).

    Only a walk that became the library makes the first of it: a file may be begun anew between
    the two, and an empty one must not pass for an empty library.
    """
    connection.execute(
        "UPDATE library SET where_works = coalesce(:works, where_works),"
        " synced_at_s = iif(full_walk_at_s > 0, :now, 0),"
        " full_walk_at_s = iif(full_walk_at_s > 0 AND :full, :now, full_walk_at_s)",
        {"now": now_s, "full": full, "works": where_works},
    )


def mark_lists_sources(connection: sqlite3.Connection, lists: bool) -> None:
    """What the server was found to do; see `SyncState.lists_sources`."""
    connection.execute("UPDATE library SET lists_sources = ?", (lists,))


def sized_counts(connection: sqlite3.Connection) -> SizedCounts:
    """From the tally, so free at any size."""
    return SizedCounts(*connection.execute("SELECT sized, missing, total FROM tally").fetchone())


def total_size(connection: sqlite3.Connection) -> int:
    """Bytes of all sources whose size is known; from the tally."""
    (size,) = connection.execute("SELECT bytes FROM tally").fetchone()
    return int(size)
