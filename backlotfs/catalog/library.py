"""One whole version of the library's listing, and which assets of it are presented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
