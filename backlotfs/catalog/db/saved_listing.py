# SPDX-License-Identifier: Apache-2.0
"""The listing as a mount had it at its end, by columns, so that the next one reads it fast.

It is a copy of what `assets.rows` reads, in the same file: a million assets are read in 0.8 s from
it, in 3.5 s from their rows. It tells its generation; later changes are read from the rows.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Collection

from backlotfs.catalog.db.table import AssetTable

#: Grows with each change of `AssetTable.packed`.
_FORMAT = 1


def view(mode: str, types: Collection[str], statuses: Collection[str]) -> str:
    """Says which assets a listing has, and how it is stored.

    :param types: empty for all. :param statuses: likewise.
    """
    return json.dumps([_FORMAT, sys.byteorder, mode, sorted(types), sorted(statuses)])


def generation(connection: sqlite3.Connection, view: str) -> int | None:
    """The generation of the listing that is saved; None: there is none of this view."""
    row = connection.execute(
        "SELECT generation FROM saved_listing WHERE view = ? LIMIT 1", (view,)
    ).fetchone()
    return None if row is None else int(row[0])


def load(connection: sqlite3.Connection) -> AssetTable:
    """Read the listing that is saved. :raises DamagedRecord: it is not whole."""
    parts = connection.execute("SELECT body FROM saved_listing ORDER BY position").fetchall()
    return AssetTable.unpacked([body for (body,) in parts])


def save(connection: sqlite3.Connection, view: str, generation: int, table: AssetTable) -> None:
    """Save a listing in the place of the last one.

    :param generation: that it is of. :param table: its assets, at least one.
    """
    connection.execute("DELETE FROM saved_listing")
    connection.executemany(
        "INSERT INTO saved_listing (view, generation, body) VALUES (?, ?, ?)",
        [(view, generation, part) for part in table.packed()],
    )
