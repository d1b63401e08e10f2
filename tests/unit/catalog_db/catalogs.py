# SPDX-License-Identifier: Apache-2.0
"""Catalogs of one made-up account, and what they are filled with."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

from backlotfs.api.records import Asset, DeletedAsset
from backlotfs.catalog.db import assets, sync
from backlotfs.catalog.db import names as given
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.names import Assign, Naming
from backlotfs.catalog.db.rows import NamelessAsset, SourceRecord, SyncResult
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.db.sync import FullSync
from backlotfs.concurrency.clock import Clock

API_URL = "https://api.example.com"
ACCOUNT = "AbCdEfGhIjKlMnOpQrStUvWxYz01"
MODE = "original"

#: Perhaps another directory or account, to an open catalog.
OpenDb = Callable[..., CatalogDb]


def open_db(
    directory: Path, clock: Clock, *, api_url: str = API_URL, account: str = ACCOUNT
) -> CatalogDb:
    """The catalog in this cache directory."""
    return CatalogDb(directory, LibraryIdentity.of(api_url, account), clock)


def made(embed_code: str, *, updated: int = 2000, created: int = 1000, title: str = "T") -> Asset:
    """A record of an asset."""
    return Asset(embed_code, title, f"{embed_code}.mov", "video", "live", created, updated, 61_583)


def walk(db: CatalogDb, listed: Iterable[Asset], *, doubt_empty: bool = True) -> SyncResult:
    """A full walk that finds these, on one page."""
    full_sync = FullSync(db)
    full_sync.add(list(listed), None)
    return full_sync.finish(doubt_empty=doubt_empty)


def apply(
    db: CatalogDb,
    listed: Iterable[Asset],
    deleted: Iterable[DeletedAsset] = (),
    *,
    synced_at_s: float = 1.0,
) -> SyncResult:
    """An incremental sync that finds these."""
    return db.write(sync.apply, list(listed), list(deleted), synced_at_s=synced_at_s)


def probed(embed_code: str, size: int = 5000, *, verified: bool = True) -> SourceRecord:
    """What a probe found out."""
    modified = "Tue, 01 Mar 2016 21:49:25 GMT"
    return SourceRecord(embed_code, size, f'"{size}"', modified, 1_456_868_965, verified, False)


def missing(embed_code: str) -> SourceRecord:
    """A probe found no source."""
    return SourceRecord(embed_code, -1, None, None, 0, True, True)


def file_names(nameless: list[NamelessAsset], taken: Container[str]) -> dict[str, str]:
    """The file name, with the embed code when another has it: a rule as simple as can be."""
    names: dict[str, str] = {}
    for asset in sorted(nameless, key=lambda asset: (asset.created_at_s, asset.embed_code)):
        name = asset.original_file_name or asset.title
        if name in taken or name in names.values():
            name = f"{name} [{asset.embed_code}]"
        names[asset.embed_code] = name
    return names


def giving(names: Mapping[str, str]) -> Assign:
    """A rule that gives just these."""
    return lambda _assets, _taken: names


def give_names(
    db: CatalogDb, mode: str, assign: Assign, *, key_of: Callable[[str], str] = str
) -> int:
    """Name the nameless of this mode; how many got a name."""
    return given.give_names(db, Naming(mode, assign, key_of))


def records(db: CatalogDb) -> list[Asset]:
    """Every record, by embed code."""
    found = [db.read(assets.record, code) for code in sorted(codes(db))]
    return [record for record in found if record is not None]


def codes(db: CatalogDb) -> set[str]:
    """The embed codes of the library."""
    return {row.embed_code for row in db.read(assets.rows, MODE)}


def names(db: CatalogDb, mode: str = MODE) -> dict[str, str]:
    """Embed code to given name."""
    return {row.embed_code: row.name for row in db.read(assets.rows, mode)}
