# SPDX-License-Identifier: Apache-2.0
"""A version of the listing: the presented assets, and the difference from the previous version."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from backlotfs.api.records import Label
from backlotfs.catalog.choice import Choice
from backlotfs.catalog.db.rows import AssetRow, CatalogClosed
from backlotfs.catalog.db.table import AssetTable
from backlotfs.concurrency.interruptible_wait import POLL_S
from backlotfs.errors import Interrupted

#: Types that are uploaded, and so have a source file (API reference §4).
SOURCE_TYPES = frozenset({"video", "audio", "ad"})


@dataclass(frozen=True, slots=True)
class Library:
    """One version of the listing. Immutable; a new version replaces it as a whole.

    :ivar version: grows with each change.
    :ivar rows: the presented assets.
    :ivar labels: every label; empty unless a layout or a rule needs them.
    :ivar members: label id to the embed codes that have it; empty likewise.
    """

    version: int
    rows: AssetTable
    labels: Sequence[Label]
    members: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """Which assets are presented.

    :ivar types: asset types; empty for all.
    :ivar statuses: statuses; empty for all.
    :ivar choice: the rules of the mount; the catalog applies them to assets that `admits` accepts.
        None: no rules.
    """

    types: frozenset[str] = SOURCE_TYPES
    statuses: frozenset[str] = frozenset()
    choice: Choice | None = None

    def admits(self, asset_type: str, status: str) -> bool:
        """Whether an asset of this type and status is presented."""
        by_type = not self.types or asset_type in self.types
        return by_type and (not self.statuses or status in self.statuses)


class Presented:
    """The version of the listing that programs see now; the catalog replaces it.

    Any thread may call it. Callers wait only for a saved listing that is still being read, so that
    no existing name is missing until it is read.

    :ivar admit: the filter of presented assets.
    :ivar current: the last published listing, without a wait; empty before the first.
    :ivar interrupted: whether the caller of the operation that waits is gone.
    """

    def __init__(self, admit: AssetFilter = AssetFilter()) -> None:  # immutable
        self.admit = admit
        self.current = Library(0, AssetTable(), (), MappingProxyType({}))
        self.interrupted: Callable[[], bool] = lambda: False
        self._shown = threading.Event()
        self._shown.set()
        self._ended = False

    @property
    def library(self) -> Library:
        """The last published listing; waits for the first listing if it is `expected`.

        :raises CatalogClosed: the mount ended before the first listing was read.
        :raises Interrupted: the caller is gone.
        """
        if not self.current.version:
            while not self._shown.wait(POLL_S):
                if self.interrupted():
                    raise Interrupted("the wait for the saved listing: the caller is gone")
            if self._ended and not self.current.version:
                raise CatalogClosed("the mount ends before the saved listing was read")
        return self.current

    @property
    def expected(self) -> bool:
        """Whether the first listing is still being read."""
        return not self._shown.is_set()

    def expect(self) -> None:
        """From now on, callers wait for the first listing, which is read from the database."""
        self._shown.clear()

    def show(self, library: Library) -> None:
        """Replace the listing."""
        self.current = library
        self._shown.set()

    def end(self) -> None:
        """End all waits for the first listing with an error, because no listing will come."""
        self._ended = True
        self._shown.set()

    def row(self, embed_code: str) -> AssetRow | None:
        """The row of a presented asset; None: it is not presented."""
        return self.library.rows.get(embed_code)

    def updated_at_s(self, embed_code: str) -> float | None:
        """The record's ``updated_at`` (seconds since the epoch); None: it is not presented.

        It does not wait for a listing that is `expected`.
        """
        row = self.current.rows.get(embed_code)
        return None if row is None else row.updated_at_s


#: From this field on, an `AssetRow` holds what probes found.
_PROBED_FROM = AssetRow._fields.index("size")


class CatalogDelta(NamedTuple):
    """How a new version of the listing differs from the one before.

    :ivar new: rows that were not there before.
    :ivar updated: rows whose record changed, or whose source version is no longer verified.
    :ivar probed: rows of which only the probe's results changed.
    :ivar replaced: those rows of ``updated`` and ``probed`` that have another source version.
    :ivar removed: the previous rows of removed assets.
    :ivar stale_names: names of removed and renamed rows.
    """

    new: list[AssetRow]
    updated: list[AssetRow]
    probed: list[AssetRow]
    replaced: list[AssetRow]
    removed: list[AssetRow]
    stale_names: list[str]


def classify(before: AssetRow | None, row: AssetRow, change: CatalogDelta) -> None:
    """Add ``row`` to the right lists of ``change``."""
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
