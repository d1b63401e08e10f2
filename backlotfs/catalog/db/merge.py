"""Listings into the library: records are staged in a table, then merged in a few statements.

Works inside a write transaction of its caller. A staged row whose record equals the library's has
no body, so a walk over an unchanged library writes little. The merge goes by the staged rows, with
``CROSS JOIN`` where SQLite, which has no statistics, might choose to go by the library instead.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from backlotfs.api.records import Asset
from backlotfs.catalog.db.record_json import documents_of
from backlotfs.catalog.db.schema import STAGED_COLUMNS

#: The table a full walk gathers in …
WALK = "staged"
#: … and the one an incremental answer passes through; each connection has its own.
INCOMING = "incoming"
#: The name mode whose names follow from the record alone (`--names always-id`).
DERIVED_MODE = "always-id"
#: Deletions are remembered for mounts that look in later; beyond these they load all.
KEPT_TOMBSTONES = 20_000

_COLUMNS = "embed_code, inode, asset_type, status, created_at_s, updated_at_s"


class Merged(NamedTuple):
    """Embed codes, as in `rows.WalkResult`."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    touched: tuple[str, ...]


class Doomed(NamedTuple):
    """An asset that leaves the library."""

    id: int
    embed_code: str


def begin_incoming(connection: sqlite3.Connection) -> None:
    """An empty `INCOMING` table."""
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {INCOMING} {STAGED_COLUMNS}")
    connection.execute(f"DELETE FROM {INCOMING}")


def stage(
    connection: sqlite3.Connection,
    table: str,
    assets: Iterable[Asset],
    inode_of: Callable[[str], int],
) -> None:
    """Put records into ``table``; of two of one asset the one updated later stays."""
    remaining = iter(assets)
    while batch := list(itertools.islice(remaining, 500)):
        known = _known(connection, [asset.embed_code for asset in batch])
        connection.executemany(
            f"INSERT INTO {table} ({_COLUMNS}, body, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (embed_code) DO UPDATE SET asset_type = excluded.asset_type,"
            " status = excluded.status, created_at_s = excluded.created_at_s,"
            " updated_at_s = excluded.updated_at_s, body = excluded.body,"
            " labels = excluded.labels WHERE excluded.updated_at_s >= updated_at_s",
            [_staged_row(asset, known.get(asset.embed_code), inode_of) for asset in batch],
        )


def merge(connection: sqlite3.Connection, table: str, generation: int) -> Merged:
    """The records of ``table`` become the library's; nothing is removed."""
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS merging (id INTEGER PRIMARY KEY, staged INTEGER NOT NULL,"
        " embed_code TEXT NOT NULL, touched INTEGER NOT NULL)"
    )
    connection.execute("DELETE FROM merging")
    connection.execute(
        "INSERT INTO merging SELECT a.id, s.id, s.embed_code, a.updated_at_s <> s.updated_at_s"
        f" FROM {table} s CROSS JOIN asset a ON a.embed_code = s.embed_code"
        " WHERE s.body IS NOT NULL"
    )
    connection.execute(
        "UPDATE asset SET (asset_type, status, created_at_s, updated_at_s, verified) ="
        " (SELECT s.asset_type, s.status, s.created_at_s, s.updated_at_s,"
        f" asset.verified AND NOT m.touched FROM merging m CROSS JOIN {table} s ON s.id = m.staged"
        " WHERE m.id = asset.id), changed_in = ? WHERE id IN (SELECT id FROM merging)",
        (generation,),
    )
    connection.execute(
        "UPDATE record SET (body, labels) = (SELECT s.body, coalesce(s.labels, record.labels)"
        f" FROM merging m CROSS JOIN {table} s ON s.id = m.staged WHERE m.id = record.id)"
        " WHERE id IN (SELECT id FROM merging)"
    )
    _forget_derived_names(connection)
    first_new = _next_id(connection)
    connection.execute(
        f"INSERT INTO asset ({_COLUMNS}, changed_in) SELECT {_COLUMNS}, ? FROM {table} s"
        " WHERE s.body IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM asset a WHERE a.embed_code = s.embed_code) ORDER BY s.id",
        (generation,),
    )
    connection.execute(
        f"INSERT INTO record SELECT a.id, s.body, s.labels FROM asset a CROSS JOIN {table} s"
        " ON s.embed_code = a.embed_code WHERE a.id >= ?",
        (first_new,),
    )
    connection.execute(
        "DELETE FROM tombstone WHERE EXISTS"
        " (SELECT 1 FROM asset a WHERE a.embed_code = tombstone.embed_code AND a.id >= ?)",
        (first_new,),
    )
    _merge_labels(connection, table, first_new)
    added = _codes(connection, "SELECT embed_code FROM asset WHERE id >= ?", first_new)
    changed = _codes(connection, "SELECT embed_code FROM merging WHERE touched >= ?", 0)
    touched = _codes(connection, "SELECT embed_code FROM merging WHERE touched >= ?", 1)
    return Merged(added, changed, touched)


def remove(connection: sqlite3.Connection, doomed: Sequence[Doomed], generation: int) -> None:
    """Assets leave the library, and their names become free; tombstones stay for a while."""
    if not doomed:
        return
    ids = [(asset.id,) for asset in doomed]
    for statement in (
        "DELETE FROM asset WHERE id = ?",
        "DELETE FROM record WHERE id = ?",
        "DELETE FROM given_name WHERE asset_id = ?",
        "DELETE FROM asset_label WHERE asset_id = ?",
        "DELETE FROM caption WHERE asset_id = ?",
    ):
        connection.executemany(statement, ids)
    connection.executemany(
        "INSERT OR REPLACE INTO tombstone VALUES (?, ?)",
        [(asset.embed_code, generation) for asset in doomed],
    )
    cut = connection.execute(
        "SELECT removed_in FROM tombstone ORDER BY removed_in DESC LIMIT 1 OFFSET ?",
        (KEPT_TOMBSTONES,),
    ).fetchone()
    if cut is not None:
        connection.execute("DELETE FROM tombstone WHERE removed_in <= ?", cut)
        connection.execute("UPDATE library SET tombstone_floor = ?", cut)


def _forget_derived_names(connection: sqlite3.Connection) -> None:
    """Names of the mode that never depends on history are made anew when a record changes."""
    forgotten = connection.execute(
        "DELETE FROM given_name WHERE mode = ? AND asset_id IN (SELECT id FROM merging)",
        (DERIVED_MODE,),
    ).rowcount
    if forgotten:
        connection.execute("UPDATE naming SET named_up_to = 0 WHERE mode = ?", (DERIVED_MODE,))


def _merge_labels(connection: sqlite3.Connection, table: str, first_new: int) -> None:
    """What assets were listed with labels now have just those; others keep what they had."""
    listed = f"FROM {table} s CROSS JOIN asset a ON a.embed_code = s.embed_code"
    known = "s.body IS NOT NULL AND s.labels IS NOT NULL"
    connection.execute(
        f"DELETE FROM asset_label WHERE asset_id IN (SELECT a.id {listed}"
        f" WHERE {known} AND a.id < ?)",
        (first_new,),
    )
    connection.execute(
        "INSERT OR IGNORE INTO asset_label SELECT a.id, json_extract(label.value, '$.id')"
        f" {listed} CROSS JOIN json_each(s.labels) label WHERE {known}"
    )


def _known(
    connection: sqlite3.Connection, codes: Sequence[str]
) -> dict[str, tuple[str, str, int, int, str, str | None]]:
    marks = ",".join("?" * len(codes))
    found = connection.execute(
        "SELECT a.embed_code, a.asset_type, a.status, a.created_at_s, a.updated_at_s,"
        " r.body, r.labels FROM asset a JOIN record r ON r.id = a.id"
        f" WHERE a.embed_code IN ({marks})",
        codes,
    )
    return {row[0]: row[1:] for row in found}


def _staged_row(
    asset: Asset,
    known: tuple[str, str, int, int, str, str | None] | None,
    inode_of: Callable[[str], int],
) -> tuple[object, ...]:
    body, labels = documents = documents_of(asset)
    columns = (asset.asset_type, asset.status, asset.created_at_s, asset.updated_at_s)
    # Labels that were not asked for say nothing about those we know.
    if known is not None and known == (*columns, body, known[5] if labels is None else labels):
        return (asset.embed_code, 0, *columns, None, None)
    return (asset.embed_code, inode_of(asset.embed_code), *columns, *documents)


def _next_id(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'asset'").fetchone()
    return 1 if row is None else int(row[0]) + 1


def _codes(connection: sqlite3.Connection, query: str, parameter: int) -> tuple[str, ...]:
    return tuple(code for (code,) in connection.execute(query, (parameter,)))
