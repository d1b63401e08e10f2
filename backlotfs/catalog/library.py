"""One version of the listing: which assets it presents, and how it differs from the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from backlotfs.api.records import Label
from backlotfs.catalog.db.rows import AssetRow

#: Types that are uploaded, and so have a source file (API reference §4).
SOURCE_TYPES = frozenset({"video", "audio", "ad"})


@dataclass(frozen=True, slots=True)
class Library:
    """Immutable; swapped whole.

    :ivar version: grows with each change.
    :ivar rows: the presented assets by embed code.
    :ivar labels: every label; empty unless a layout needs them.
    :ivar members: label id to the embed codes that have it.
    """

    version: int
    rows: Mapping[str, AssetRow]
    labels: Sequence[Label]
    members: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """Which assets are presented.

    :ivar types: asset types; empty for all.
    :ivar statuses: statuses; empty for all.
    """

    types: frozenset[str] = SOURCE_TYPES
    statuses: frozenset[str] = frozenset()

    def admits(self, asset_type: str, status: str) -> bool:
        """Whether an asset of this type and status is presented."""
        by_type = not self.types or asset_type in self.types
        return by_type and (not self.statuses or status in self.statuses)


class Presented:
    """The version of the listing that programs see now: one reference, which the catalog swaps.

    Any thread may call it; it never waits.

    :ivar admit: which assets are in it.
    :ivar library: the last good listing; empty before the first.
    """

    def __init__(self, admit: AssetFilter = AssetFilter()) -> None:  # immutable
        self.admit = admit
        self.library = Library(0, MappingProxyType({}), (), MappingProxyType({}))

    def row(self, embed_code: str) -> AssetRow | None:
        """The row of a presented asset; None: it is not presented."""
        return self.library.rows.get(embed_code)

    def updated_at_s(self, embed_code: str) -> float | None:
        """When the record was last changed, seconds since the epoch by the server's clock.

        None: the asset is not presented.
        """
        row = self.row(embed_code)
        return None if row is None else row.updated_at_s


#: From this field on, an `AssetRow` holds what probes found.
_PROBED_FROM = AssetRow._fields.index("size")


class CatalogDelta(NamedTuple):
    """How a new version of the listing differs from the one before.

    :ivar new: rows that were not there before.
    :ivar updated: rows of which more than what probes found is different, or that came into doubt.
    :ivar probed: rows of which only what probes found is different.
    :ivar replaced: of both, those whose source is another version: another mount has found out.
    :ivar removed: rows that are gone, as they were.
    :ivar stale_names: names that mean nothing any more: of removed and renamed rows.
    """

    new: list[AssetRow]
    updated: list[AssetRow]
    probed: list[AssetRow]
    replaced: list[AssetRow]
    removed: list[AssetRow]
    stale_names: list[str]


def classify(before: AssetRow | None, row: AssetRow, change: CatalogDelta) -> None:
    """Put ``row`` where it belongs in ``change``."""
    if before is None:
        change.new.append(row)
        return
    if before == row:
        return
    if before.size >= 0 and row.size >= 0 and _version(before) != _version(row):
        change.replaced.append(row)
    if before[:_PROBED_FROM] != row[:_PROBED_FROM] or (before.verified and not row.verified):
        change.updated.append(row)
        if before.name != row.name:
            change.stale_names.append(before.name)
    else:
        change.probed.append(row)


def _version(row: AssetRow) -> tuple[object, ...]:
    """The fields that differ between versions of a source."""
    return row.size, row.etag, row.last_modified
