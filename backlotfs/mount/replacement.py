"""Replacement updates all parts of a mount when a source is replaced, touched or deleted.

**Replaced**: a probe, a transfer or another mount has found another version of a source.

1. Open files of the previous version are marked before the new version is shown, so that no
   program closes a mixed copy without an error.
2. The presigned URL is forgotten, unless it was issued after the record changed: an older URL may
   still serve the previous version.
3. Open files are marked again: a file may have been opened between step 1 and the publication.
4. The pin moves to the new version, which is fetched.
5. The kernel's entries of the names in the root are invalidated, with their old size.

**Touched**: the record of an asset has changed, so its source may have been replaced. The URL is
invalidated first and the version second, so that the next probe uses a URL that was issued after
the change. Then the source is probed again.

**Deleted**: the version, its URL and its open files are handled as above. The pin is removed only
if the API does not have the asset any more, not if a filter hides it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.library import CatalogDelta
from backlotfs.catalog.probe_scheduler import ProbeScheduler
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.fetch.pin_reconciler import PinReconciler
from backlotfs.log import events
from backlotfs.open_files.reader import HandleTable
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.source.version import SourceVersion

log = logging.getLogger(__name__)


class Replacement:
    """Updates every part with state of a changed source, on the thread that found the change.

    It listens to the versions (`SourceVersionCache.subscribe`) and to the catalog
    (`Catalog.subscribe`).
    """

    def __init__(
        self,
        versions: SourceVersionCache,
        urls: UrlResolver,
        handles: HandleTable,
        pins: PinReconciler,
        probes: ProbeScheduler,
        catalog: Catalog,
        invalidate: Callable[[Iterable[str]], None],
    ) -> None:
        """Subscribe to nothing yet: see `connect`.

        :param invalidate: invalidates the kernel's entries for these names in the root.
        """
        self._versions = versions
        self._urls = urls
        self._handles = handles
        self._pins = pins
        self._probes = probes
        self._catalog = catalog
        self._invalidate = invalidate

    def connect(self) -> None:
        """Subscribe to versions and catalog. Call it once, before the first listing."""
        self._versions.subscribe(self)
        self._catalog.subscribe(self.before_publication, beforehand=True)
        self._catalog.subscribe(self.published)

    def on_new_version(self, embed_code: str, current: SourceVersion) -> None:
        """Mark the open files of other versions before ``current`` is shown."""
        self._handles.mark_changed(embed_code, current)

    def on_outdated(self, version: SourceVersion) -> None:
        """Mark the open files of ``version``: a transfer received another version."""
        self._handles.mark_replaced(version)

    def on_change(self, embed_code: str, current: SourceVersion | None) -> None:
        """Update all parts: the source is ``current``; None: it changed and was not probed yet."""
        if current is not None:
            events.SOURCE_REPLACED.log(log, embed_code=embed_code, size=current.size)
        if current is None or not self._urls.has_fresh(embed_code):
            self._urls.forget(embed_code)
        self._handles.mark_changed(embed_code, current)
        self._pins.source_changed(embed_code)
        row = self._catalog.row(embed_code)
        if row is not None:
            self._invalidate([row.name])

    def before_publication(self, change: CatalogDelta) -> None:
        """Take over the versions that other mounts found, before their rows are shown."""
        self._versions.apply_external(change.replaced)

    def published(self, change: CatalogDelta) -> None:
        """Update all parts for the touched and deleted assets of a new listing."""
        self._urls.check_saved(self._catalog.presented.updated_at_s)
        self._versions.published(change.probed)
        for row in change.removed:
            self._versions.forget(row.embed_code)
        touched = [row.embed_code for row in change.updated]
        for code in touched:
            self._urls.invalidate_on_change(code)
            self._versions.invalidate(code)
        for row in change.new:
            if row.size >= 0 and not row.verified:  # touched while it was not presented
                self._urls.invalidate_on_change(row.embed_code)
        self._probes.enqueue_stale(code for code in touched if self._versions.known(code))
        self._invalidate(change.stale_names)
        self._invalidate(row.name for row in change.new + change.updated)
        if change.new or any(row.size < 0 for row in change.updated):  # a lost catalog had sizes
            self._probes.start_backfill()
        for row in change.removed:
            code = row.embed_code
            if self._pins.pins.of(code) and self._catalog.record(code) is None:
                self._pins.deleted(code)
