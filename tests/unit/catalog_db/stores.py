"""Stores of one made-up account, and what they are filled with."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

from backlotfs.api.records import Asset
from backlotfs.catalog.db.names import Assign
from backlotfs.catalog.db.rows import NamelessAsset, SourceRecord, WalkResult
from backlotfs.catalog.db.store import CatalogStore
from backlotfs.concurrency.clock import Clock

API_URL = "https://api.example.com"
ACCOUNT = "AbCdEfGhIjKlMnOpQrStUvWxYz01"
MODE = "original"

#: A clock, and perhaps another directory or account, to an open store.
OpenStore = Callable[..., CatalogStore]


def inode_of(embed_code: str) -> int:
    """A number that the tests can foretell."""
    return 1000 + sum(embed_code.encode())


def open_store(
    directory: Path, clock: Clock, *, api_url: str = API_URL, account: str = ACCOUNT
) -> CatalogStore:
    """The catalog in this cache directory."""
    return CatalogStore(directory, api_url=api_url, account=account, clock=clock, inode_of=inode_of)


def made(embed_code: str, *, updated: int = 2000, created: int = 1000, title: str = "T") -> Asset:
    """A record of an asset."""
    return Asset(embed_code, title, f"{embed_code}.mov", "video", "live", created, updated, 61_583)


def walk(store: CatalogStore, assets: Iterable[Asset], *, doubt_empty: bool = True) -> WalkResult:
    """A full walk that finds these, on one page."""
    store.walk_add(list(assets), None)
    return store.walk_finish(doubt_empty=doubt_empty)


def probed(embed_code: str, size: int = 5000, *, verified: bool = True) -> SourceRecord:
    """What a probe found out."""
    modified = "Tue, 01 Mar 2016 21:49:25 GMT"
    return SourceRecord(embed_code, size, f'"{size}"', modified, 1_456_868_965, verified, False)


def missing(embed_code: str) -> SourceRecord:
    """A probe found no source."""
    return SourceRecord(embed_code, -1, None, None, 0, True, True)


def file_names(assets: list[NamelessAsset], taken: Container[str]) -> dict[str, str]:
    """The file name, with the embed code when another has it: a rule as simple as can be."""
    names: dict[str, str] = {}
    for asset in sorted(assets, key=lambda asset: (asset.created_at_s, asset.embed_code)):
        name = asset.original_file_name or asset.title
        if name in taken or name in names.values():
            name = f"{name} [{asset.embed_code}]"
        names[asset.embed_code] = name
    return names


def giving(names: Mapping[str, str]) -> Assign:
    """A rule that gives just these."""
    return lambda _assets, _taken: names


def codes(store: CatalogStore) -> set[str]:
    """The embed codes of the library."""
    return {row.embed_code for row in store.rows(MODE)}


def names(store: CatalogStore, mode: str = MODE) -> dict[str, str]:
    """Embed code to given name."""
    return {row.embed_code: row.name for row in store.rows(mode)}
