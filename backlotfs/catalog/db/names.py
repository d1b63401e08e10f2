# SPDX-License-Identifier: Apache-2.0
"""Given names: an asset keeps its name, one for each mode, until it is removed.

Two names of a mode are the same if `Naming.key_of` gives the same key; 63 bits of the key's hash
are stored. If two of a million names have the same 63 bits (probability 1e-7), one name gets its
asset's id needlessly. Two assets never get the same name.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from backlotfs.catalog.db.assets import name_sources
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.rows import NamelessAsset
from backlotfs.catalog.db.state import generation, set_generation
from backlotfs.log import events
from backlotfs.trusted_paths import open_folder, real_path

log = logging.getLogger(__name__)

#: Takes assets without a name and the keys of all given names; returns names by embed code.
Assign = Callable[[list[NamelessAsset], Container[str]], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Naming:
    """The naming of assets in one mode. Immutable.

    :ivar mode: the name of the mode in the database.
    :ivar assign: names the assets without a name. It runs inside the transaction, so it must not
        call the catalog. An asset that it leaves out is passed again the next time.
    :ivar key_of: returns the key of a name; a pure function. No two given names of a mode have the
        same key.
    """

    mode: str
    assign: Assign
    key_of: Callable[[str], str] = str


def give_names(db: CatalogDb, naming: Naming) -> int:
    """Name the assets without a name, for all mounts; return how many were named.

    :raises ValueError: ``assign`` gave an empty name, or one that is taken.
    """
    if not db.read(nameless, naming.mode, 1):
        return 0  # the usual case takes no lock
    return db.write(_give_names, naming)


def _give_names(connection: sqlite3.Connection, naming: Naming) -> int:
    taken = TakenKeys(connection, naming.mode)
    names = naming.assign(nameless(connection, naming.mode), taken)
    number = generation(connection) + 1
    given = _give(connection, naming, names, number)
    if given:
        set_generation(connection, number)
    return given


class TakenKeys:
    """The keys of the given names of a mode, looked up in the database.

    Valid only in the transaction that made it, on its thread.
    """

    def __init__(self, connection: sqlite3.Connection, mode: str) -> None:
        self._connection = connection
        self._mode = mode
        self._none = not self._any()

    def __contains__(self, key: object) -> bool:
        """Whether a name with this key was given."""
        if self._none or not isinstance(key, str):
            return False
        found = self._connection.execute(
            "SELECT 1 FROM given_name WHERE mode = ? AND name_key = ?", (self._mode, _hash(key))
        )
        return found.fetchone() is not None

    def _any(self) -> bool:
        found = self._connection.execute(
            "SELECT 1 FROM given_name WHERE mode = ? LIMIT 1", (self._mode,)
        )
        return found.fetchone() is not None


def nameless(connection: sqlite3.Connection, mode: str, limit: int = -1) -> list[NamelessAsset]:
    """The assets without a given name, in the order of storage."""
    found = connection.execute(
        "SELECT a.embed_code, a.created_at_s, r.body FROM asset a JOIN record r ON r.id = a.id"
        " WHERE a.id > ? AND NOT EXISTS"
        " (SELECT 1 FROM given_name n WHERE n.asset_id = a.id AND n.mode = ?)"
        " ORDER BY a.id LIMIT ?",
        (_named_up_to(connection, mode), mode, limit),
    )
    return [
        NamelessAsset(code, *name_sources(code, body), created_at_s)
        for code, created_at_s, body in found
    ]


def _give(
    connection: sqlite3.Connection, naming: Naming, names: Mapping[str, str], number: int
) -> int:
    """Store names for assets that have none; return how many were named.

    :param number: the generation for their rows.
    :raises ValueError: a name is empty, or its key is another asset's.
    """
    mode = naming.mode
    if "" in names.values():
        raise ValueError("an empty name was assigned")
    before = connection.total_changes
    try:
        connection.executemany(
            "INSERT INTO given_name (asset_id, mode, name, name_key)"
            " SELECT id, ?, ?, ? FROM asset WHERE embed_code = ?"
            " ON CONFLICT (asset_id, mode) DO NOTHING",
            [(mode, name, _hash(naming.key_of(name)), code) for code, name in names.items()],
        )
    except sqlite3.IntegrityError as error:
        raise ValueError(f"two assets were given the same {mode} name") from error
    given = connection.total_changes - before
    connection.execute(
        "UPDATE asset SET changed_in = ? WHERE id > ? AND EXISTS"
        " (SELECT 1 FROM given_name n WHERE n.asset_id = asset.id AND n.mode = ?)",
        (number, _named_up_to(connection, mode), mode),
    )
    mark_named(connection, mode)
    return given


def mark_named(connection: sqlite3.Connection, mode: str) -> None:
    """Store the last id up to which all assets have a name; they are skipped next time."""
    connection.execute(
        "INSERT INTO naming SELECT :mode, coalesce("
        " (SELECT min(a.id) - 1 FROM asset a WHERE a.id > :start AND NOT EXISTS"
        "  (SELECT 1 FROM given_name n WHERE n.asset_id = a.id AND n.mode = :mode)),"
        " (SELECT max(id) FROM asset), :start) WHERE true"
        " ON CONFLICT (mode) DO UPDATE SET named_up_to = excluded.named_up_to",
        {"mode": mode, "start": _named_up_to(connection, mode)},
    )


def _named_up_to(connection: sqlite3.Connection, mode: str) -> int:
    row = connection.execute("SELECT named_up_to FROM naming WHERE mode = ?", (mode,)).fetchone()
    return 0 if row is None else int(row[0])


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def given_names(catalog: Path, mode: str) -> dict[str, str]:
    """The given names by embed code in a database file; empty if there is no such file.

    For commands without a mount: the file is not changed, but SQLite may create empty log files
    beside it. A file in a folder that other users can change is not read.
    """
    try:
        folder = open_folder(catalog.parent, make=False)
    except FileNotFoundError:
        return {}
    except OSError as error:
        events.CATALOG_UNUSABLE.log(log, reason=error)
        return {}
    # The real path of the checked folder has no symbolic link, and nobody else can put one there.
    uri = f"file:{quote(f'{real_path(folder)}/{catalog.name}')}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as connection:
            found = connection.execute(
                "SELECT a.embed_code, n.name FROM given_name n JOIN asset a ON a.id = n.asset_id"
                " WHERE n.mode = ?",
                (mode,),
            )
            return dict(found.fetchall())
    except sqlite3.Error:  # missing, of another version, or no catalog: the mount will report it
        return {}
    finally:
        os.close(folder)
