# SPDX-License-Identifier: Apache-2.0
"""Replacement updates all parts of a mount when a source is replaced, touched or deleted.

**Replaced**: a probe, a transfer or another mount has found another version of a source.

1. Before the new version is shown, the kernel's node of the file keeps the previous one, and the
   kernel is told to look its names up again (`kernel.nodes`).
2. The presigned URL is forgotten, unless it was issued after the record changed: an older URL may
   still serve the previous version.
3. If the asset is pinned, its pin changes to the new version, which is fetched.

**Touched**: the record of an asset has changed, so its source may have been replaced. The URL is
invalidated first and the version second, so that the next probe uses a URL that was issued after
the change. Then the source is probed again.

**Deleted**: the asset is not shown any more. Its version is forgotten, and its URL as above. Its
pin is removed only if the API does not have the asset any more, but not if a filter hides it.
"""

from __future__ import annotations

import logging

from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.library import CatalogDelta
from backlotfs.catalog.probe_scheduler import ProbeScheduler
from backlotfs.catalog.versions import ProbedSource, SourceVersionCache
from backlotfs.fetch.pin_reconciler import PinReconciler
from backlotfs.kernel.notifier import Notifier
from backlotfs.log import events
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.source.version import SourceVersion

log = logging.getLogger(__name__)


class Replacement:
    """Updates every part that has state of a changed source, on the thread that found the change.

    It subscribes to the versions (`SourceVersionCache.subscribe`) and to the catalog
    (`Catalog.subscribe`).
    """

    def __init__(
        self,
        versions: SourceVersionCache,
        urls: UrlResolver,
        pins: PinReconciler,
        probes: ProbeScheduler,
        catalog: Catalog,
        kernel: Notifier,
    ) -> None:
        """Subscribe to nothing yet: see `connect`.

        :param kernel: receives the changes of names and attributes.
        """
        self._versions = versions
        self._urls = urls
        self._pins = pins
        self._probes = probes
        self._catalog = catalog
        self._kernel = kernel

    def connect(self) -> None:
        """Subscribe to versions and catalog. Call it once, before the first listing."""
        self._versions.subscribe(self)
        self._catalog.subscribe(self.before_publication, beforehand=True)
        self._catalog.subscribe(self.published)

    def on_replaced(self, embed_code: str, before: ProbedSource) -> None:
        """Let the kernel's node of the file keep the previous version, ``before``."""
        self._kernel.retire(embed_code, before)

    def on_change(self, embed_code: str, current: SourceVersion | None) -> None:
        """Update all parts. The new version is ``current``; None: it was not probed yet."""
        if current is not None:
            events.SOURCE_REPLACED.log(log, embed_code=embed_code, size=current.size)
        if current is None or not self._urls.has_fresh(embed_code):
            self._urls.forget(embed_code)
        self._pins.source_changed(embed_code)
        self._kernel.attributes_changed([embed_code])

    def before_publication(self, change: CatalogDelta) -> None:
        """Apply the versions that other mounts found, before their rows are shown.

        Also invalidate the URLs and versions of touched records: an open just after the publication
        probes the source, and the probe needs a URL that was issued after the change.
        """
        self._versions.apply_external(change.replaced)
        for row in change.updated:
            self._urls.invalidate_on_change(row.embed_code)
            self._versions.invalidate(row.embed_code)
        for row in change.new:
            if row.size >= 0 and not row.verified:  # changed while the asset was not shown
                self._urls.invalidate_on_change(row.embed_code)

    def published(self, change: CatalogDelta) -> None:
        """Update all parts for the touched and deleted assets of a new listing."""
        self._versions.published(change.probed)
        for row in change.removed:
            self._versions.forget(row)
        touched = [row.embed_code for row in change.updated]
        for code in touched:
            self._versions.invalidate(code)
        self._probes.enqueue_stale(code for code in touched if self._versions.known(code))
        self._kernel.listing_changed(touched)
        # An updated record has no known size if the catalog was lost: its sizes were lost too.
        if change.new or any(row.size < 0 for row in change.updated):
            self._probes.start_backfill()
        for row in change.removed:
            code = row.embed_code
            if self._pins.pins.of(code) and self._catalog.record(code) is None:
                self._pins.deleted(code)
