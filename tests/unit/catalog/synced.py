"""A catalog over a real database and an API that the test fills."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backlotfs.api.records import Asset, DeletedAsset, Label, Page
from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.library import CatalogDelta
from backlotfs.catalog.sync import Synchronizer
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import BacklotError
from backlotfs.namespace.naming import NameMode, catalog_naming
from tests.unit.fakes import HeldWorkers, ManualClock

PAGE = 2


class ListedApi:
    """Pages of two assets; filters by ``updated_at`` unless it is told to ignore ``where``.

    :ivar calls: ``walk``, ``walk from <cursor>``, ``since <time>``, ``deleted`` or ``labels``.
    :ivar fail_at: raise `error` at the so-many-th page of the next listing, from 1.
    """

    def __init__(self) -> None:
        self.assets: list[Asset] = []
        self.deleted: list[DeletedAsset] = []
        self.all_labels: tuple[Label, ...] = ()
        self.calls: list[str] = []
        self.heeds_where = True
        self.included: set[str | None] = set()
        self.fail_at = 0
        self.error: BacklotError | None = None
        self.deleted_error: BacklotError | None = None
        self.skipped: tuple[str, ...] = ()

    def iter_pages(
        self,
        *,
        deadline: Deadline,
        where: str | None = None,
        include: str | None = None,
        start: str | None = None,
    ) -> Iterator[Page[Asset]]:
        """Newest first."""
        self.included.add(include)
        assets = sorted(self.assets, key=lambda asset: (-asset.created_at_s, asset.embed_code))
        if where is None:
            self.calls.append("walk" if start is None else f"walk from {start}")
        else:
            moment = where.partition("'")[2].rstrip("'")
            self.calls.append(f"since {moment}")
            if self.heeds_where:
                since = int(moment[11:13]) * 3600 + int(moment[14:16]) * 60 + int(moment[17:19])
                assets = [asset for asset in assets if asset.updated_at_s > since]
        first = 0 if start is None else int(start)
        for number, at in enumerate(range(first, max(1, len(assets)), PAGE), 1):
            if self.error is not None and number == self.fail_at:
                raise self.error
            more = at + PAGE < len(assets)
            skipped = self.skipped if at == 0 else ()
            yield Page(tuple(assets[at : at + PAGE]), skipped, str(at + PAGE) if more else None)

    def iter_deleted(self, *, deadline: Deadline) -> Iterator[Page[DeletedAsset]]:
        """Newest deletion first."""
        self.calls.append("deleted")
        if self.deleted_error is not None:
            raise self.deleted_error
        yield Page(tuple(self.deleted), (), None)

    def labels(self, deadline: Deadline) -> tuple[Label, ...]:
        """Every label."""
        self.calls.append("labels")
        return self.all_labels


class SyncedCatalog:
    """A catalog and all around it; its first second is an hour after the epoch."""

    def __init__(self, directory: Path, *, with_labels: bool = False) -> None:
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
        self.catalog = Catalog(
            self.db,
            self.synchronizer,
            self.workers,
            self.clock,
            naming=catalog_naming(NameMode.ORIGINAL),
            ttl_s=300.0,
        )
        self.changes: list[CatalogDelta] = []
        self.catalog.subscribe(self.changes.append)

    def load(self) -> None:
        """Sync on this thread."""
        self.catalog.load(self.deadline())

    def deadline(self) -> Deadline:
        """Time enough."""
        return Deadline(600.0, self.clock)

    @property
    def names(self) -> dict[str, str]:
        """Embed code to name, as presented."""
        return {code: row.name for code, row in self.catalog.library.rows.items()}
