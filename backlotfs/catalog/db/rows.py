"""What the catalog's file gives and takes: small tuples, and the errors of the catalog."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import NamedTuple

from backlotfs.errors import BacklotError

#: `AssetRow.size` and `SourceRecord.size` of a source that was never probed.
UNKNOWN_SIZE = -1


class CatalogUnavailable(BacklotError):
    """The catalog's file cannot be used now (disk full, busy, closed); nothing was changed."""


class CatalogClosed(CatalogUnavailable):
    """The catalog is closed because the mount ends."""


class CatalogLost(CatalogUnavailable):
    """The catalog's file was damaged and replaced while in use; no full sync has finished since.

    A mount goes on showing the library that it has in memory: this is not an empty library.
    """


class DamagedRecord(sqlite3.DatabaseError):
    """A stored document is not what this program writes: the file is damaged."""


class EmptyListingDoubted(BacklotError):
    """A full sync found no asset where there were some: nothing was changed, ask once more."""


class FullSyncLost(BacklotError):
    """The file was replaced by an empty one during the full sync: begin it again."""


class AssetRow(NamedTuple):
    """One asset as the mount holds it in memory.

    :ivar inode: computed once, when the asset was first seen.
    :ivar name: the given name in the mode that was asked for; ``""`` when none was given yet.
    :ivar created_at_s: seconds since the epoch; 0 when the API gave none.
    :ivar updated_at_s: likewise.
    :ivar size: bytes; `UNKNOWN_SIZE` while the source was never probed.
    :ivar mtime_s: what ``stat`` shows, seconds since the epoch; 0 while ``size`` is unknown.
    :ivar verified: 1 if it was probed and nothing has hinted at a replacement since.
    :ivar missing: 1 if the last probe said that there is no source to be had.
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
    """Make a 63-bit inode number: the same on every host and after every restart.

    Two of a million assets share one with a probability of 5e-8, and then only hard-link detection
    is fooled.
    """
    digest = hashlib.blake2b(embed_code.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return max(2, int.from_bytes(digest, "big") >> 1)  # 1 is the root of every file system


class SourceRecord(NamedTuple):
    """The result of a probe; fields as in `AssetRow`."""

    embed_code: str
    size: int
    etag: str | None
    last_modified: str | None
    mtime_s: int
    verified: bool
    missing: bool


class NamelessAsset(NamedTuple):
    """An asset without a given name, with all that names are made from."""

    embed_code: str
    original_file_name: str | None
    title: str
    created_at_s: int


class SyncState(NamedTuple):
    """How far the catalog follows the library. Wall times, seconds since the epoch.

    :ivar generation: grows with every change of rows or labels, by whichever mount.
    :ivar synced_at_s: the last sync; 0 before the first full sync is finished, in a file begun
        anew too: the catalog then says nothing, not that the library is empty.
    :ivar full_sync_at_s: the last full sync; 0 before the first.
    :ivar high_water_s: the largest ``updated_at`` seen, but never later than when our clock says
        that the listing began: a record from the future must not hide edits from later syncs, nor
        a late page of a full sync those that its first pages missed.
    :ivar deleted_seen_s: the largest ``deleted_at`` seen; 0 for none.
    :ivar where_works: whether the server heeds ``where`` (1 or 0); None while that is not known.
    :ivar lists_sources: whether the server puts sources into listings that ask for them (1 or 0);
        None while that is not known.
    """

    generation: int
    synced_at_s: float
    full_sync_at_s: float
    high_water_s: int
    deleted_seen_s: int
    where_works: int | None
    lists_sources: int | None


class FullSyncCursor(NamedTuple):
    """Where an interrupted full sync goes on.

    :ivar next_page: relative URL of the next page; None when all pages are in.
    :ivar started_at_s: wall time of its first page.
    :ivar pages: how many are in.
    """

    next_page: str | None
    started_at_s: float
    pages: int


class SyncResult(NamedTuple):
    """The assets that a sync changed, by embed code.

    :ivar changed: records that differ in anything; the ``touched`` are among them.
    :ivar touched: those whose ``updated_at`` moved: their sources are no longer verified.
    :ivar generation: the catalog's, after it.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    touched: tuple[str, ...]
    removed: tuple[str, ...]
    generation: int

    @property
    def is_empty(self) -> bool:
        """Whether the library is as it was."""
        return not (self.added or self.changed or self.removed)


class SizedCounts(NamedTuple):
    """How far the crawl for sizes has come.

    :ivar sized: assets whose size is known.
    :ivar missing: assets without a source to be had.
    :ivar total: all assets.
    """

    sized: int
    missing: int
    total: int

    @property
    def to_come(self) -> int:
        """Assets whose size is not known yet."""
        return self.total - self.sized - self.missing
