"""The labels of the library, and which assets carry them. Works inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from backlotfs.api.records import Label


def labels(connection: sqlite3.Connection) -> list[Label]:
    """All labels, in the order they were set."""
    found = connection.execute(
        "SELECT id, name, full_name, parent_id FROM label ORDER BY position"
    ).fetchall()
    return [Label(*row) for row in found]


def set_labels(connection: sqlite3.Connection, wanted: Sequence[Label]) -> bool:
    """These are all there are, the first of those with one id; returns whether that is news."""
    first: dict[str, Label] = {}
    for label in wanted:
        first.setdefault(label.id, label)
    distinct = list(first.values())
    if distinct == labels(connection):
        return False
    connection.execute("DELETE FROM label")
    connection.executemany(
        "INSERT INTO label (id, name, full_name, parent_id) VALUES (?, ?, ?, ?)",
        [(label.id, label.name, label.full_name, label.parent_id) for label in distinct],
    )
    return True


def label_members(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Label id to the embed codes of its assets; also ids that are not among the labels (yet)."""
    members: dict[str, list[str]] = {}
    found = connection.execute(
        "SELECT l.label_id, a.embed_code FROM asset_label l JOIN asset a ON a.id = l.asset_id"
    )
    for label_id, embed_code in found:
        members.setdefault(label_id, []).append(embed_code)
    return members
