# SPDX-License-Identifier: Apache-2.0
"""Records of assets, rows of the catalog and versions of sources."""

from __future__ import annotations

from backlotfs.api.records import Asset
from backlotfs.catalog.db.rows import AssetRow, inode_of
from backlotfs.source.version import SourceVersion

LAST_MODIFIED = "Tue, 01 Mar 2016 21:49:25 GMT"


LAST_MODIFIED_S = 1_456_868_965


def asset(
    embed_code: str,
    file_name: str | None = "clip.mov",
    *,
    title: str = "",
    created_at_s: int = 1000,
    updated_at_s: int = 2000,
    asset_type: str = "video",
    status: str = "live",
) -> Asset:
    """A record of the library."""
    return Asset(embed_code, title, file_name, asset_type, status, created_at_s, updated_at_s, 0)


def source_version(
    embed_code: str = "E1",
    size: int = 1000,
    *,
    etag: str | None = '"v1"',
    last_modified: str | None = LAST_MODIFIED,
) -> SourceVersion:
    """One version of a source."""
    return SourceVersion(embed_code, size, etag, last_modified)


def row(
    embed_code: str = "E1",
    name: str = "clip.mov",
    *,
    size: int = -1,
    etag: str | None = None,
    mtime_s: int = 0,
    verified: bool = False,
    missing: bool = False,
    created_at_s: int = 1000,
    updated_at_s: int = 2000,
) -> AssetRow:
    """A presented asset; probed if it has a size."""
    source = (size, etag, None, mtime_s, int(verified), int(missing))
    return AssetRow(
        embed_code, inode_of(embed_code), name, "video", "live", created_at_s, updated_at_s, *source
    )


def probed_row(embed_code: str = "E1", name: str = "clip.mov", size: int = 1000) -> AssetRow:
    """A row whose source is `source_version` of the same code and size."""
    return row(
        embed_code, name, size=size, etag='"v1"', mtime_s=LAST_MODIFIED_S, verified=True
    )._replace(last_modified=LAST_MODIFIED)
