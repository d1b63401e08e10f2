# SPDX-License-Identifier: Apache-2.0
"""Caption documents in the database, and the assets whose captions were fetched.

A row means that the captions were fetched when the record had this ``updated_at``. If the record
has changed since, the captions are fetched again, and the row is kept until then. Bodies are
compressed, which also detects damage. The functions run in a transaction of `connection.CatalogDb`.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from backlotfs.catalog.db.rows import DamagedRecord

_FOUND = (
    "SELECT a.embed_code, c.kind, c.size, iif(c.asked_of, c.asked_of, a.created_at_s)"
    " FROM caption c JOIN asset a ON a.id = c.asset_id WHERE c.kind IS NOT NULL"
)


class Caption(NamedTuple):
    """A caption document, without its bytes.

    :ivar kind: one of `captions.KINDS`.
    :ivar size: uncompressed bytes.
    :ivar mtime_s: the record's ``updated_at`` at the fetch, or its ``created_at``.
    """

    kind: str
    size: int
    mtime_s: int


class PendingCaption(NamedTuple):
    """An asset whose captions have to be fetched, and the position to continue after it."""

    id: int
    embed_code: str
    created_at_s: int
    updated_at_s: int


def all_captions(connection: sqlite3.Connection) -> dict[str, Caption]:
    """All documents by embed code."""
    return {code: Caption(*rest) for code, *rest in connection.execute(_FOUND)}


def document(connection: sqlite3.Connection, embed_code: str) -> tuple[Caption, bytes] | None:
    """A document with its bytes; None if there is none."""
    row = connection.execute(f"{_FOUND} AND a.embed_code = ?", (embed_code,)).fetchone()
    if row is None:
        return None
    (body,) = connection.execute(
        "SELECT body FROM caption WHERE asset_id = (SELECT id FROM asset WHERE embed_code = ?)",
        (embed_code,),
    ).fetchone()
    caption = Caption(*row[1:])
    return caption, _unpacked(body, caption.size)


def pending(
    connection: sqlite3.Connection,
    limit: int,
    types: Sequence[str],
    after: PendingCaption | None = None,
) -> list[PendingCaption]:
    """The assets whose captions were never fetched, or that have changed since, the newest first.

    Assets without a source are left out.

    :param types: only these asset types; empty for all.
    :param after: the last asset of the previous batch.
    """
    kinds = f" AND a.asset_type IN ({','.join('?' * len(types))})" if types else ""
    later = "" if after is None else " AND (a.created_at_s, a.id) < (?, ?)"
    where = () if after is None else (after.created_at_s, after.id)
    found = connection.execute(
        "SELECT a.id, a.embed_code, a.created_at_s, a.updated_at_s FROM asset a"
        " LEFT JOIN caption c ON c.asset_id = a.id"
        " WHERE (c.asset_id IS NULL OR c.asked_of <> a.updated_at_s) AND a.missing = 0"
        f"{kinds}{later} ORDER BY a.created_at_s DESC, a.id DESC LIMIT ?",
        (*types, *where, limit),
    )
    return [PendingCaption(*row) for row in found]


def save(
    connection: sqlite3.Connection, asked: PendingCaption, kind: str | None, body: bytes = b""
) -> None:
    """Store the captions of an asset; do nothing if it was removed from the library.

    :param kind: None when it has no captions.
    """
    packed = zlib.compress(body) if kind is not None else None
    connection.execute(
        "INSERT OR REPLACE INTO caption (asset_id, asked_of, kind, size, body)"
        " SELECT id, ?, ?, ?, ? FROM asset WHERE id = ? AND embed_code = ?",
        (asked.updated_at_s, kind, len(body), packed, asked.id, asked.embed_code),
    )


def _unpacked(packed: object, size: int) -> bytes:
    """Uncompress a body of ``size`` bytes. :raises DamagedRecord: it is not what was stored."""
    if not isinstance(packed, bytes):
        raise DamagedRecord("a caption document without a body")
    try:
        unpacker = zlib.decompressobj()
        body = unpacker.decompress(packed, size + 1)
        whole = unpacker.eof
    except zlib.error as error:
        raise DamagedRecord("a damaged caption document") from error
    if len(body) != size or not whole:
        raise DamagedRecord("a damaged caption document")
    return body
