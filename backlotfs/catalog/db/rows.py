# SPDX-License-Identifier: Apache-2.0
"""The row types and errors of the catalog's database."""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from typing import NamedTuple

from backlotfs.errors import BacklotError


class CatalogUnavailable(BacklotError):
    """The database cannot be used now (the disk is full, it is busy or closed).

    Nothing was changed.
    """


class CatalogClosed(CatalogUnavailable):
    """The catalog is closed because the mount ends."""


class CatalogLost(CatalogUnavailable):
    """The database was damaged and replaced while in use; no full sync has finished since.

    A mount continues to show the library that it has in memory.
    """


class DamagedRecord(sqlite3.DatabaseError):
    """A stored document, text or number is invalid: the file is damaged."""


class EmptyListingDoubted(BacklotError):
    """A full sync found an empty library for the first time; nothing was changed: try again."""


class FullSyncLost(BacklotError):
    """The file was replaced by an empty one during the full sync: start it again."""


class FullSyncTaken(BacklotError):
    """Another process has finished or replaced the full sync that this one had begun."""


class AssetRow(NamedTuple):
    """One asset as the mount holds it in memory.

    :ivar inode: computed once, when the asset was first seen.
    :ivar name: the given name in the requested mode; ``""`` if none was given yet.
    :ivar created_at_s: seconds since the epoch; 0 if the record has none.
    :ivar updated_at_s: likewise.
    :ivar size: bytes; -1 while the source was never probed.
    :ivar mtime_s: the time for ``stat``, seconds since the epoch; 0 while ``size`` is unknown.
    :ivar verified: 1 if it was probed and not invalidated since.
    :ivar missing: 1 if the last probe found no source that can be read.
    """

    embed_code: str
    inode: int
    name: str
    asset_type: str
    status: str
    created_at_s: int
    updated_at_s: int
    size: int
    etag: str | None
    last_modified: str | None
    mtime_s: int
    verified: int
    missing: int


def inode_of(embed_code: str) -> int:
    """The inode number of an asset.

    Two of a million assets have the same number with a probability of 1e-7; then `AssetTable` gives
    another number to the second of them.
    """
    return hashed_inode(embed_code.encode("utf-8", "surrogatepass"))


def hashed_inode(what: bytes, kind: bytes = b"") -> int:
    """Make a 63-bit inode number: the same on every host and after every restart.

    Bit 31 is 0, because file managers that use GIO sort a folder by the difference of two inode
    numbers as a C ``int``. With bit 31 set in some numbers, that would not be a consistent order.

    :param kind: at most 16 bytes; the same ``what`` has another number for another kind.
    """
    digest = blake2b(what, digest_size=8, person=kind).digest()
    number = int.from_bytes(digest, "big") >> 1 & ~(1 << 31)
    return max(2, number)  # 1 is the inode number of the root in FUSE


class SourceRecord(NamedTuple):
    """The result of a probe; see `AssetRow` for the fields."""

    embed_code: str
    size: int
    etag: str | None
    last_modified: str | None
    mtime_s: int
    verified: bool
    missing: bool


class NamelessAsset(NamedTuple):
    """An asset without a given name, with the fields that its name is made from."""

    embed_code: str
    original_file_name: str | None
    title: str
    created_at_s: int


class SyncState(NamedTuple):
    """The state of syncs. Times are wall times, seconds since the epoch.

    :ivar generation: grows with every change of rows or labels by any mount.
    :ivar synced_at_s: the last sync; 0 before the first full sync of this file is finished. While
        it is 0, the content of the library is unknown, not empty.
    :ivar full_sync_at_s: the last full sync; 0 before the first.
    :ivar high_water_s: the largest ``updated_at`` seen, but never later than the start of the
        listing by our clock. So a record from the future does not hide later edits, and a late
        page of a full sync does not hide edits that its first pages missed.
    :ivar deleted_seen_s: the largest ``deleted_at`` seen; 0 for none.
    :ivar where_works: whether the server supports ``where`` (1 or 0); None: not known.
    :ivar lists_sources: whether the server includes sources in listings on request (1 or 0);
        None: not known.
    :ivar imported_sync_s: the ``synced_at_s`` of the last snapshot that was imported; 0: none was.
    """

    generation: int
    synced_at_s: float
    full_sync_at_s: float
    high_water_s: int
    deleted_seen_s: int
    where_works: int | None
    lists_sources: int | None
    imported_sync_s: float

    @property
    def is_imported(self) -> bool:
        """Whether the listing comes from a snapshot and no mount here has synced since."""
        return 0 < self.synced_at_s == self.imported_sync_s


class FullSyncCursor(NamedTuple):
    """The position at which an interrupted full sync continues.

    :ivar next_page: relative URL of the next page; None if all pages are staged.
    :ivar started_at_s: wall time of the first page.
    :ivar pages: number of staged pages.
    """

    next_page: str | None
    started_at_s: float
    pages: int


class SyncResult(NamedTuple):
    """The assets that a sync changed, by embed code.

    :ivar changed: assets whose record changed, including the ``touched`` ones.
    :ivar touched: assets whose ``updated_at`` changed, so that their sources are not verified.
    :ivar generation: the generation after the sync.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    touched: tuple[str, ...]
    removed: tuple[str, ...]
    generation: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not (self.added or self.changed or self.removed)


class SizedCounts(NamedTuple):
    """The progress of the backfill of sizes.

    :ivar sized: assets whose size is known.
    :ivar missing: assets without a source that can be read.
    :ivar total: all assets.
    """

    sized: int
    missing: int
    total: int

    @property
    def to_come(self) -> int:
        """The number of assets whose size is not known yet."""
        return self.total - self.sized - self.missing
