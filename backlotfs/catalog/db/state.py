"""What is stored about the library as a whole: how far it is synced, its counts and its labels.

The functions run in a transaction of `connection.CatalogDb`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from backlotfs.api.records import Label
from backlotfs.catalog.db.rows import SizedCounts, SyncState


def sync_state(connection: sqlite3.Connection) -> SyncState:
    """How far the catalog follows the library."""
    row = connection.execute(
        "SELECT generation, synced_at_s, full_walk_at_s, high_water_s, deleted_seen_s, where_works,"
        " lists_sources FROM library"
    ).fetchone()
    return SyncState(*row)


def generation(connection: sqlite3.Connection) -> int:
    """The number of the last change of rows or labels, by whichever mount; cheap."""
    (number,) = connection.execute("SELECT generation FROM library").fetchone()
    return int(number)


def set_generation(connection: sqlite3.Connection, number: int) -> None:
    """Say that rows or labels changed; the same transaction marked them with ``number``."""
    connection.execute("UPDATE library SET generation = ?", (number,))


def mark_synced(
    connection: sqlite3.Connection, now_s: float, *, full: bool, where_works: bool | None = None
) -> None:
    """Remember that a sync ended well at ``now_s`` (wall clock).

    Nothing changes before the first full sync has become the library: a file may be begun anew
    between the two, and an empty one must not pass for an empty library.

    :param where_works: whether the server heeds ``where``; None for no news.
    """
    connection.execute(
        "UPDATE library SET where_works = coalesce(:works, where_works),"
        " synced_at_s = iif(full_walk_at_s > 0, :now, 0),"
        " full_walk_at_s = iif(full_walk_at_s > 0 AND :full, :now, full_walk_at_s)",
        {"now": now_s, "full": full, "works": where_works},
    )


def mark_lists_sources(connection: sqlite3.Connection, lists: bool) -> None:
    """Remember whether the server puts sources into listings that ask for them."""
    connection.execute("UPDATE library SET lists_sources = ?", (lists,))


def sized_counts(connection: sqlite3.Connection) -> SizedCounts:
    """How many assets are probed; from the tally, so cheap at any size."""
    return SizedCounts(*connection.execute("SELECT sized, missing, total FROM tally").fetchone())


def total_size(connection: sqlite3.Connection) -> int:
    """Bytes of all sources whose size is known; from the tally."""
    (size,) = connection.execute("SELECT bytes FROM tally").fetchone()
    return int(size)


def labels(connection: sqlite3.Connection) -> list[Label]:
    """All labels, in the order they were set."""
    found = connection.execute(
        "SELECT id, name, full_name, parent_id FROM label ORDER BY position"
    ).fetchall()
    return [Label(*row) for row in found]


def set_labels(connection: sqlite3.Connection, wanted: Sequence[Label]) -> None:
    """Store all labels of the library; of several with one id the first counts."""
    first: dict[str, Label] = {}
    for label in wanted:
        first.setdefault(label.id, label)
    distinct = list(first.values())
    if distinct == labels(connection):
        return
    connection.execute("DELETE FROM label")
    connection.executemany(
        "INSERT INTO label (id, name, full_name, parent_id) VALUES (?, ?, ?, ?)",
        [(label.id, label.name, label.full_name, label.parent_id) for label in distinct],
    )
    set_generation(connection, generation(connection) + 1)


def label_members(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Label id to the embed codes of its assets; also ids that are not among the labels (yet)."""
    members: dict[str, list[str]] = {}
    found = connection.execute(
        "SELECT l.label_id, a.embed_code FROM asset_label l JOIN asset a ON a.id = l.asset_id"
    )
    for label_id, embed_code in found:
        members.setdefault(label_id, []).append(embed_code)
    return members
