"""In what one version of the library differs from the one before."""

from __future__ import annotations

from typing import NamedTuple

from backlotfs.catalog.db.rows import AssetRow

#: From this field on, an `AssetRow` holds what probes found.
_PROBED_FROM = AssetRow._fields.index("size")


class CatalogDelta(NamedTuple):
    """What a new version brought.

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
    """What tells a version of a source from others."""
    return row.size, row.etag, row.last_modified
