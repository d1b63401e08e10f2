# SPDX-License-Identifier: Apache-2.0
"""A catalog over a real database and an API that the test fills."""

# the signatures are those of what is stood in for

from __future__ import annotations

from pathlib import Path
from typing import Any

from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.choice import Choice
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.library import AssetFilter, CatalogDelta, Presented
from backlotfs.catalog.sync import Synchronizer
from backlotfs.concurrency.clock import Deadline
from backlotfs.config.settings import NameMode
from backlotfs.namespace.naming import catalog_naming
from tests.fakes.api import ListedApi
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import HeldWorkers


class SyncedCatalog:
    """A catalog and all around it; its first second is an hour after the epoch."""

    def __init__(
        self, directory: Path, *, with_labels: bool = False, choice: Choice | None = None
    ) -> None:
        self.clock = ManualClock(3600.0)
        self.api = ListedApi()
        self.db = CatalogDb(directory, LibraryIdentity("http://api", "a"), self.clock)
        self.progress: list[int] = []
        api: Any = self.api
        self.synchronizer = Synchronizer(
            api,
            self.db,
            self.clock,
            with_labels=with_labels,
            progress=self.progress.append,
        )
        self.workers = HeldWorkers()
        self.catalog = self.of(choice)
        self.changes: list[CatalogDelta] = []
        self.catalog.subscribe(self.changes.append)

    def of(self, choice: Choice | None) -> Catalog:
        """A catalog of what these rules show."""
        return Catalog(
            self.db,
            self.synchronizer,
            self.workers,
            self.clock,
            naming=catalog_naming(NameMode.ORIGINAL),
            ttl_s=300.0,
            presented=Presented(AssetFilter(choice=choice)),
        )

    def load(self) -> None:
        """Sync on this thread."""
        self.catalog.load(self.deadline())

    def deadline(self) -> Deadline:
        """Time enough."""
        return Deadline(600.0, self.clock)

    @property
    def names(self) -> dict[str, str]:
        """Embed code to name, as presented."""
        return {row.embed_code: row.name for row in self.catalog.library.rows}
