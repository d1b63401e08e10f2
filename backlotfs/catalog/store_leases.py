"""Leases: of several mounts of one library, one syncs and one crawls at a time.

They expire on the wall clock, the only one that mounts share across a suspend. Works inside a
transaction of its caller.
"""

from __future__ import annotations

import sqlite3


def held_by_other(connection: sqlite3.Connection, name: str, owner: str, now_s: float) -> bool:
    """Whether somebody else has it; one taken in the future was taken by another clock."""
    row = connection.execute(
        "SELECT 1 FROM lease WHERE name = ? AND owner <> ?"
        " AND taken_at_s <= ? AND taken_at_s + seconds > ?",
        (name, owner, now_s, now_s),
    ).fetchone()
    return row is not None


def take(
    connection: sqlite3.Connection, name: str, owner: str, seconds: float, now_s: float
) -> bool:
    """Take or prolong it, unless somebody else has it."""
    if held_by_other(connection, name, owner, now_s):
        return False
    connection.execute(
        "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?)", (name, owner, now_s, seconds)
    )
    return True


def release(connection: sqlite3.Connection, name: str, owner: str) -> None:
    """Give it up, if it is ours."""
    connection.execute("DELETE FROM lease WHERE name = ? AND owner = ?", (name, owner))
