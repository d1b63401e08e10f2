# SPDX-License-Identifier: Apache-2.0
"""The state of the library as a whole in the database: syncs, counts and labels.

The functions run in a transaction of `connection.CatalogDb`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from backlotfs.api.records import Label
from backlotfs.catalog.db.rows import SizedCounts, SyncState


def sync_state(connection: sqlite3.Connection) -> SyncState:
    """Read the state of syncs."""
    row = connection.execute(
        "SELECT generation, synced_at_s, full_sync_at_s, high_water_s, deleted_seen_s, where_works,"
        " lists_sources, imported_sync_s FROM library"
    ).fetchone()
    return SyncState(*row)


def generation(connection: sqlite3.Connection) -> int:
    """Read the number of the last change of rows or labels by any mount; fast."""
    (number,) = connection.execute("SELECT generation FROM library").fetchone()
    return int(number)


def set_generation(connection: sqlite3.Connection, number: int) -> None:
    """Set the generation to ``number``, which the same transaction put into changed rows."""
    connection.execute("UPDATE library SET generation = ?", (number,))


def mark_synced(
    connection: sqlite3.Connection, now_s: float, *, full: bool, where_works: bool | None = None
) -> None:
    """Record that a sync succeeded at ``now_s`` (wall clock).

    Do nothing before the first full sync of this file is finished: the file may have been
    replaced by an empty one, which must not be taken for an empty library.

    :param where_works: whether the server supports ``where``; None: unchanged.
    """
    connection.execute(
        "UPDATE library SET where_works = coalesce(:works, where_works),"
        " synced_at_s = iif(full_sync_at_s > 0, :now, 0),"
        " full_sync_at_s = iif(full_sync_at_s > 0 AND :full, :now, full_sync_at_s)",
        {"now": now_s, "full": full, "works": where_works},
    )


def mark_lists_sources(connection: sqlite3.Connection, lists: bool) -> None:
    """Record whether the server includes sources in listings on request."""
    connection.execute("UPDATE library SET lists_sources = ?", (lists,))


def sized_counts(connection: sqlite3.Connection) -> SizedCounts:
    """Read the number of probed assets from the tally; fast for any size."""
    return SizedCounts(*connection.execute("SELECT sized, missing, total FROM tally").fetchone())


def total_size(connection: sqlite3.Connection) -> int:
    """Read the total size of all sources of known size from the tally."""
    (size,) = connection.execute("SELECT bytes FROM tally").fetchone()
    return int(size)


def labels(connection: sqlite3.Connection) -> list[Label]:
    """Read all labels in the order in which they were set."""
    found = connection.execute(
        "SELECT id, name, full_name, parent_id FROM label ORDER BY position"
    ).fetchall()
    return [Label(*row) for row in found]


def set_labels(connection: sqlite3.Connection, wanted: Sequence[Label]) -> None:
    """Store all labels of the library; of several with the same id the first is kept."""
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


def has_label_members(connection: sqlite3.Connection) -> bool:
    """Whether any asset has a label."""
    (has,) = connection.execute("SELECT EXISTS (SELECT 1 FROM asset_label)").fetchone()
    return bool(has)


def label_members(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Read the embed codes of each label id, including ids that are not among the labels."""
    members: dict[str, list[str]] = {}
    found = connection.execute(
        "SELECT l.label_id, a.embed_code FROM asset_label l JOIN asset a ON a.id = l.asset_id"
    )
    for label_id, embed_code in found:
        members.setdefault(label_id, []).append(embed_code)
    return members
