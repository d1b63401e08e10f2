"""Leases: of several mounts of one library, one syncs and one crawls at a time.

They expire on the wall clock, the only one that mounts share across a suspend, or at once when the
process that took them is gone: a mount that was killed holds up nobody. Works inside a transaction
of its caller.
"""

from __future__ import annotations

import os
import secrets
import sqlite3


def new_owner() -> str:
    """A name for a holder of leases in this process."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def held_by_other(connection: sqlite3.Connection, name: str, owner: str, now_s: float) -> bool:
    """Whether somebody else has it; one taken in the future was taken by another clock."""
    row = connection.execute(
        "SELECT owner FROM lease WHERE name = ? AND owner <> ?"
        " AND taken_at_s <= ? AND taken_at_s + seconds > ?",
        (name, owner, now_s, now_s),
    ).fetchone()
    return row is not None and _lives(row[0])


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


def _lives(owner: str) -> bool:
    """Whether the process of an owner may still be there; of another form of owner: yes.

    A process in another container looks dead from here: then two mounts sync, which is safe.
    """
    pid, separator, _ = owner.partition("-")
    if not separator or not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
