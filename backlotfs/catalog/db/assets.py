"""What is read of assets and written about their sources.

Works inside a transaction of its caller.
"""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from backlotfs.api.records import Asset
from backlotfs.catalog.db.record_json import Columns, Documents, asset_of
from backlotfs.catalog.db.rows import AssetRow, SourceRecord
from backlotfs.catalog.db.schema import UNSIZED, UNVERIFIED

_ROWS = (
    "SELECT embed_code, inode, coalesce(name, ''), asset_type, status, created_at_s, updated_at_s,"
    " size, etag, last_modified, mtime_s, verified, missing"
    " FROM asset a LEFT JOIN given_name n ON n.asset_id = a.id AND n.mode = ?"
)
_RECORDS = (
    "SELECT a.embed_code, a.asset_type, a.status, a.created_at_s, a.updated_at_s, r.body, r.labels"
    " FROM asset a JOIN record r ON r.id = a.id"
)


def rows(connection: sqlite3.Connection, mode: str) -> list[AssetRow]:
    """All assets, in the order of storage."""
    return _rows_of(connection.execute(_ROWS, (mode,)))


def changed_since(
    connection: sqlite3.Connection, mode: str, generation: int
) -> tuple[list[AssetRow], list[str]] | None:
    """Rows that are new or differ, and codes that are gone; None when that is not known."""
    now, floor = connection.execute("SELECT generation, tombstone_floor FROM library").fetchone()
    if not floor <= generation <= now:
        return None
    changed = _rows_of(connection.execute(f"{_ROWS} WHERE changed_in > ?", (mode, generation)))
    gone = connection.execute(
        "SELECT embed_code FROM tombstone WHERE removed_in > ?", (generation,)
    )
    return changed, [code for (code,) in gone]


def record(connection: sqlite3.Connection, embed_code: str) -> Asset | None:
    """The API record of one asset."""
    row = connection.execute(f"{_RECORDS} WHERE a.embed_code = ?", (embed_code,)).fetchone()
    return None if row is None else _asset(row)


def records_after(connection: sqlite3.Connection, embed_code: str, limit: int) -> list[Asset]:
    """The next records in the order of their embed codes."""
    found = connection.execute(
        f"{_RECORDS} WHERE a.embed_code > ? ORDER BY a.embed_code LIMIT ?", (embed_code, limit)
    )
    return [_asset(row) for row in found]


def save_sources(
    connection: sqlite3.Connection, sources: Iterable[SourceRecord], number: int
) -> bool:
    """Store what probes found out; returns whether that is news.

    :param number: the generation to mark their rows with.
    """
    before = connection.total_changes
    connection.executemany(
        "UPDATE asset SET size = :size, etag = :etag, last_modified = :last_modified,"
        " mtime_s = :mtime_s, verified = :verified, missing = :missing, changed_in = :number"
        " WHERE embed_code = :embed_code AND NOT (size = :size AND etag IS :etag"
        " AND last_modified IS :last_modified AND mtime_s = :mtime_s AND verified = :verified"
        " AND missing = :missing)",
        [{**source._asdict(), "number": number} for source in sources],
    )
    return connection.total_changes > before


def unsized(
    connection: sqlite3.Connection, limit: int, types: Sequence[str], *, newest_first: bool
) -> list[str]:
    """Assets whose size nobody has asked for, by ``created_at``."""
    order = "DESC" if newest_first else "ASC"
    kinds = f" AND asset_type IN ({','.join('?' * len(types))})" if types else ""
    found = connection.execute(
        f"SELECT embed_code FROM asset WHERE {UNSIZED}{kinds}"
        f" ORDER BY created_at_s {order} LIMIT ?",
        (*types, limit),
    )
    return [code for (code,) in found]


def unverified(connection: sqlite3.Connection, limit: int) -> list[str]:
    """Assets with a size that came into doubt, newest first."""
    found = connection.execute(
        f"SELECT embed_code FROM asset WHERE {UNVERIFIED} ORDER BY created_at_s DESC LIMIT ?",
        (limit,),
    )
    return [code for (code,) in found]


def _rows_of(found: Iterable[tuple[Any, ...]]) -> list[AssetRow]:
    # A million rows have a handful of types and states: one object for each, not one per row.
    # The bare tuple.__new__ is half the cost of calling the class.
    same: dict[str, str] = {}
    once, new = same.setdefault, tuple.__new__
    with _no_garbage_collection():
        return [
            new(
                AssetRow,
                (code, inode, name, once(kind, kind), once(status, status), created_at_s,
                 updated_at_s, size, etag, last_modified, mtime_s, verified, missing),
            )
            for code, inode, name, kind, status, created_at_s, updated_at_s, size, etag,
                last_modified, mtime_s, verified, missing in found
        ]  # fmt: skip


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """It would look again and again through the rows made so far: a fifth of the whole time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _asset(row: tuple[str, str, str, int, int, str, str | None]) -> Asset:
    return asset_of(Columns(*row[:5]), Documents(*row[5:]))
