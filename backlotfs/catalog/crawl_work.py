"""What the crawl over sizes has to do."""

from __future__ import annotations

from backlotfs.catalog.store import CatalogStore


class CrawlWork:
    """Of all that the store holds; for `Sizer`. Any thread may call it."""

    def __init__(self, store: CatalogStore, types: frozenset[str]) -> None:
        """``types``: of assets that are presented; to ask for others would waste credits."""
        self._store = store
        self._types = types
        self.try_lease = store.try_lease
        self.release_lease = store.release_lease

    def unsized(self, limit: int) -> list[str]:
        """Embed codes without a size, then those whose size is in doubt, ``limit`` of each."""
        return self._store.unsized(limit, types=self._types) + self._store.unverified(limit)
