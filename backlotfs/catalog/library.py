"""One whole version of the library's listing, and which assets of it are presented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backlotfs.api.records import Asset

#: Types that are uploaded, and so have a source file (API reference §4).
SOURCE_TYPES = frozenset({"video", "audio", "ad"})


@dataclass(frozen=True, slots=True)
class Library:
    """Immutable; swapped whole.

    :ivar version: grows with each change.
    :ivar assets: by embed code.
    """

    version: int
    assets: Mapping[str, Asset]


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """Which assets are presented.

    :ivar types: asset types; empty for all.
    :ivar statuses: statuses; empty for all.
    """

    types: frozenset[str] = SOURCE_TYPES
    statuses: frozenset[str] = frozenset()

    def admits(self, asset: Asset) -> bool:
        """Whether this asset is presented."""
        by_type = not self.types or asset.asset_type in self.types
        return by_type and (not self.statuses or asset.status in self.statuses)
