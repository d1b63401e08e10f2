# SPDX-License-Identifier: Apache-2.0
"""Assets in the database: reads rows and records, stores the results of probes and API records.

Functions that take a connection run in a transaction of `connection.CatalogDb`. The fields of a
record that no query selects by are one JSON text. Fields at their defaults are left out. The same
record always gives the same text, so a record has changed if its text differs. Non-ASCII characters
are escaped, so half a surrogate pair in a title is stored unchanged.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterable
from types import MappingProxyType
from typing import Any

from backlotfs.api.records import NO_METADATA, Asset, Label
from backlotfs.catalog.db import saved_listing
from backlotfs.catalog.db.rows import DamagedRecord, SizedCounts, SourceRecord
from backlotfs.catalog.db.schema import UNSIZED, UNVERIFIED
from backlotfs.catalog.db.state import generation, set_generation
from backlotfs.catalog.db.table import COLUMNS, AssetTable

_ROWS = f"SELECT {COLUMNS} FROM asset a LEFT JOIN given_name n ON n.asset_id = a.id AND n.mode = ?"
#: All rows are read if more than one asset in this many has changed since a listing was saved.
MANY_CHANGES = 8
#: Number of rows that are read at a time: more do not fit the caches of a processor.
_BATCH = 250
_RECORDS = (
    "SELECT a.embed_code, a.asset_type, a.status, a.created_at_s, a.updated_at_s, r.body, r.labels"
    " FROM asset a JOIN record r ON r.id = a.id"
)


def rows(
    connection: sqlite3.Connection,
    mode: str,
    types: Collection[str] = (),
    statuses: Collection[str] = (),
) -> AssetTable:
    """The assets of these types and statuses with their names in ``mode``, as they are stored.

    A saved listing is used, unless many assets have changed since.

    :param types: empty for all. :param statuses: likewise.
    """
    with contextlib.suppress(DamagedRecord):
        saved = _saved_rows(connection, mode, types, statuses)
        if saved is not None:
            return saved
    where, values = _of_kinds(types, statuses)
    return _table(connection.execute(f"{_ROWS} WHERE {where}", (mode, *values)))


def _saved_rows(
    connection: sqlite3.Connection, mode: str, types: Collection[str], statuses: Collection[str]
) -> AssetTable | None:
    generation = saved_listing.generation(connection, saved_listing.view(mode, types, statuses))
    if generation is None:
        return None
    changes, total = connection.execute(
        "SELECT (SELECT count(*) FROM asset WHERE changed_in > ?), total FROM tally", (generation,)
    ).fetchone()
    if changes * MANY_CHANGES > total:
        return None
    found = changed_since(connection, mode, generation)
    if found is None:
        return None
    changed, removed = found
    table = saved_listing.load(connection)
    shown = [
        row
        for row in changed
        if (not types or row.asset_type in types) and (not statuses or row.status in statuses)
    ]
    gone = {*removed, *(row.embed_code for row in changed)} - {row.embed_code for row in shown}
    gone = {code for code in gone if code in table}
    return table.updated(shown, gone) if shown or gone else table


def changed_since(
    connection: sqlite3.Connection, mode: str, generation: int
) -> tuple[AssetTable, list[str]] | None:
    """The rows that changed since ``generation``, and the embed codes of removed assets.

    :returns: None if ``generation`` is too old or of another file: load `rows` instead.
    """
    now, floor = connection.execute("SELECT generation, tombstone_floor FROM library").fetchone()
    if not floor <= generation <= now:
        return None
    changed = _table(connection.execute(f"{_ROWS} WHERE changed_in > ?", (mode, generation)))
    gone = connection.execute(
        "SELECT embed_code FROM tombstone WHERE removed_in > ?", (generation,)
    )
    return changed, [code for (code,) in gone]


def counts(
    connection: sqlite3.Connection, types: Collection[str], statuses: Collection[str]
) -> SizedCounts:
    """Count the assets of these types and statuses: with a size, without a source, and all.

    :param types: empty for all. :param statuses: likewise.
    """
    where, values = _of_kinds(types, statuses)
    return SizedCounts(
        *connection.execute(
            "SELECT coalesce(sum(size >= 0), 0), coalesce(sum(size < 0 AND missing), 0), count(*)"
            f" FROM asset WHERE {where}",
            values,
        ).fetchone()
    )


def _of_kinds(types: Collection[str], statuses: Collection[str]) -> tuple[str, list[str]]:
    """The condition for assets of these types and statuses, and its values; empty for all."""
    wanted = [(column, sorted(values)) for column, values in
              (("asset_type", types), ("status", statuses)) if values]  # fmt: skip
    where = " AND ".join(f"{column} IN ({','.join('?' * len(some))})" for column, some in wanted)
    return where or "true", [value for _, some in wanted for value in some]


def record(connection: sqlite3.Connection, embed_code: str) -> Asset | None:
    """The complete API record of one asset; None if it is not in the library."""
    row = connection.execute(f"{_RECORDS} WHERE a.embed_code = ?", (embed_code,)).fetchone()
    return None if row is None else asset_of(row)


def save_sources(connection: sqlite3.Connection, sources: Iterable[SourceRecord]) -> None:
    """Store the results of probes, except those of removed assets."""
    number = generation(connection) + 1
    before = connection.total_changes
    connection.executemany(
        "UPDATE asset SET size = :size, etag = :etag, last_modified = :last_modified,"
        " mtime_s = :mtime_s, verified = :verified, missing = :missing, changed_in = :number"
        " WHERE embed_code = :embed_code AND NOT (size = :size AND etag IS :etag"
        " AND last_modified IS :last_modified AND mtime_s = :mtime_s AND verified = :verified"
        " AND missing = :missing)",
        [{**source._asdict(), "number": number} for source in sources],
    )
    if connection.total_changes > before:
        set_generation(connection, number)


def to_probe(
    connection: sqlite3.Connection,
    limit: int,
    types: Collection[str] = (),
) -> list[str]:
    """Up to ``limit`` assets without a size, then as many whose source may have been replaced.

    Both are sorted by age, the newest first, without assets that are known to have no source.

    :param types: the asset types of the assets without a size; empty for all.
    """
    kinds = f" AND asset_type IN ({','.join('?' * len(types))})" if types else ""
    codes: list[str] = []
    for where, parameters in ((f"{UNSIZED}{kinds}", sorted(types)), (UNVERIFIED, [])):
        found = connection.execute(
            f"SELECT embed_code FROM asset WHERE {where} ORDER BY created_at_s DESC LIMIT ?",
            (*parameters, limit),
        )
        codes += [code for (code,) in found]
    return codes


def _table(cursor: sqlite3.Cursor) -> AssetTable:
    found = AssetTable()
    while batch := cursor.fetchmany(_BATCH):
        found.extend(batch)
    return found


_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def documents_of(asset: Asset) -> tuple[str, str | None]:
    """The fields of a record without their own column, as JSON: the body, and the labels.

    The labels are None if the API was not asked for them.
    """
    body: dict[str, object] = {}
    if asset.title:
        body["title"] = asset.title
    if asset.original_file_name is not None:
        body["original_file_name"] = asset.original_file_name
    if asset.duration_ms:
        body["duration_ms"] = asset.duration_ms
    if asset.description is not None:
        body["description"] = asset.description
    if asset.external_id is not None:
        body["external_id"] = asset.external_id
    if asset.preview_image_url is not None:
        body["preview_image_url"] = asset.preview_image_url
    if asset.metadata:
        body["metadata"] = dict(asset.metadata)
    labels = None
    if asset.labels is not None:
        labels = _encode(
            [
                {
                    "id": tag.id,
                    "name": tag.name,
                    "full_name": tag.full_name,
                    "parent": tag.parent_id,
                }
                for tag in asset.labels
            ]
        )
    return _encode(body), labels


def asset_of(row: tuple[str, str, str, int, int, str, str | None]) -> Asset:
    """Make the record from a row of `_RECORDS`. :raises DamagedRecord: its JSON is damaged."""
    code, asset_type, status, created_at_s, updated_at_s, text, label_text = row
    try:
        body = json.loads(text)
        labels = None if label_text is None else json.loads(label_text)
        metadata = body.get("metadata")
        return Asset(
            embed_code=code,
            title=body.get("title", ""),
            original_file_name=body.get("original_file_name"),
            asset_type=asset_type,
            status=status,
            created_at_s=created_at_s,
            updated_at_s=updated_at_s,
            duration_ms=body.get("duration_ms", 0),
            description=body.get("description"),
            external_id=body.get("external_id"),
            preview_image_url=body.get("preview_image_url"),
            metadata=NO_METADATA if metadata is None else MappingProxyType(metadata),
            labels=None if labels is None else tuple(_label(item) for item in labels),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedRecord(f"malformed record of {code}") from error


def name_sources(embed_code: str, body: str) -> tuple[str | None, str]:
    """Original file name and title of a document. :raises DamagedRecord: it is not ours."""
    try:
        fields: dict[str, Any] = json.loads(body)
        return fields.get("original_file_name"), fields.get("title", "")
    except (ValueError, AttributeError) as error:
        raise DamagedRecord(f"malformed record of {embed_code}") from error


def _label(item: dict[str, Any]) -> Label:
    return Label(item["id"], item["name"], item["full_name"], item["parent"])
