"""A sizer with everything it asks, held by the test."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from backlotfs.catalog.purse import Purse
from backlotfs.catalog.rate_budget import Priority, RateBudget
from backlotfs.catalog.sizer import CRAWLERS, Sizer

from backlotfs.catalog.rows import AssetRow
from backlotfs.catalog.source_book import SourceBook
from backlotfs.clock import Deadline
from backlotfs.remote.identity import SourceIdentity
from backlotfs.workers import Workers
from tests.unit.fakes import HeldWorkers, ManualClock, identity, row


class NotedPurse(Purse):
    """Never lets anybody wait, unless a test says so; notes who spent."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(RateBudget(clock), lambda: None)
        self.spent: list[Priority] = []
        self.before: Callable[[Priority], None] = lambda _priority: None

    @contextlib.contextmanager
    def spend(self, priority: Priority, deadline: Deadline) -> Iterator[None]:
        """Around one call."""
        self.before(priority)
        self.spent.append(priority)
        yield


class Crawl:
    """A sizer over made-up assets; all of them known to the library, none of them sized.

    :ivar probed: what was probed, in order, and how: ``api`` or ``cdn``.
    """

    def __init__(self, *codes: str, workers: Workers | None = None, cdn: bool = False) -> None:
        cdn_probe = self._probe("cdn")
        self.clock = ManualClock()
        self.just_changed: set[str] = set()
        self.rows: dict[str, AssetRow] = {code: row(code) for code in codes}
        self.held = HeldWorkers()
        self.purse = NotedPurse(self.clock)
        self.probed: list[tuple[str, str]] = []
        self.on_probe: Callable[[str], None] = lambda _code: None
        self.urls: set[str] = set()
        self.lease = True
        self.on_store: Callable[[], None] = lambda: None
        self.book = SourceBook(
            self.clock, self.rows.get, lambda _records: None, lambda _code, _now: None, settle_s=2.0
        )
        # what is learned is not written in these tests, and no thread is needed for that
        self.book._writing = threading.current_thread()
        self.sizer = Sizer(
            self._probe("api"),
            lambda code: cdn_probe if cdn and code not in self.just_changed else None,
            lambda code: code in self.urls,
            self.book,
            self,
            self.purse,
            workers or self.held,
            Workers(CRAWLERS, "crawler") if workers else self.held,
            self.clock,
        )

    def release_lease(self, name: str, owner: str) -> None:
        """Nobody else wants it."""

    def unsized(self, limit: int) -> list[str]:
        """As the store says: also what was probed a moment ago and is not written yet."""
        self.on_store()
        return list(self.rows)[:limit]

    def try_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Whether this mount may crawl."""
        self.on_store()
        assert name == "size"
        return self.lease

    def _probe(self, how: str) -> Callable[[str, Deadline], SourceIdentity]:
        def probe(code: str, deadline: Deadline) -> SourceIdentity:
            self.probed.append((how, code))
            self.on_probe(code)
            return identity(code)

        return probe
