"""A probe scheduler with everything it asks, held by the test."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import threading
from collections.abc import Callable

from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, Turn
from backlotfs.api.rate_status import RateStatus
from backlotfs.catalog.probe_scheduler import ProbeScheduler
from backlotfs.catalog.rows import AssetRow
from backlotfs.catalog.source_book import SourceBook
from backlotfs.clock import Deadline
from backlotfs.remote.identity import SourceIdentity
from tests.unit.fakes import HeldWorkers, ManualClock, identity, row


class Scheduling:
    """A scheduler over made-up assets; all of them known to the library, none of them probed.

    :ivar probed: embed codes, in the order of their probes.
    :ivar paid: priority and embed code of each call of the API.
    :ivar free: assets whose URL needs no credit.
    :ivar unsized_codes: what the store gives to the backfill; None: every asset.
    """

    def __init__(
        self, *codes: str, credits: int = 300, reserve: float = 0.0, credit_wait_s: float = 600.0
    ) -> None:
        self.clock = ManualClock()
        self.limiter = ApiRateLimiter(
            self.clock,
            credits=credits,
            reserve=reserve,
            credit_wait_s=credit_wait_s,
            wait=lambda _changed, seconds: self.clock.advance(seconds),
        )
        self.rows: dict[str, AssetRow] = {code: row(code) for code in codes}
        self.workers = HeldWorkers()
        self.probed: list[str] = []
        self.paid: list[tuple[Priority, str]] = []
        self.free: set[str] = set()
        self.on_probe: Callable[[str], None] = lambda _code: None
        self.on_prepare: Callable[[str], None] = lambda _code: None
        self.lease = True
        self.released: list[str] = []
        self.limits: list[int] = []
        self.on_store: Callable[[], None] = lambda: None
        self.book = SourceBook(
            self.clock, self.rows.get, lambda _records: None, lambda _code, _now: None, settle_s=2.0
        )
        # what is learned is not written in these tests, and no thread is needed for that
        self.book._writing = threading.current_thread()
        self.scheduler = ProbeScheduler(
            self, self._probe, self.book, self, self.limiter, self.workers, self.clock
        )

    def is_free(self, embed_code: str) -> bool:
        """Whether its URL needs no credit."""
        return embed_code in self.free

    def prepare(
        self, embed_code: str, deadline: Deadline, *, priority: Priority, turn: Turn | None
    ) -> None:
        """The call for the URL, answered at once."""
        self.on_prepare(embed_code)
        if embed_code in self.free:
            return
        if turn is None or not turn.use():
            self.limiter.acquire(priority, key=embed_code, deadline=deadline)
        self.paid.append((priority, embed_code))

    def unsized(self, limit: int) -> list[str]:
        """As the store says: also what was probed a moment ago and is not written yet."""
        self.on_store()
        self.limits.append(limit)
        return [code for code in self.rows if self.book.known(code) is None][:limit]

    def try_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Whether this mount may do the backfill."""
        assert name == "size"
        return self.lease

    def release_lease(self, name: str, owner: str) -> None:
        """Another may."""
        self.released.append(name)

    def spend(self, *, left: int, resets_in_s: float = 40.0) -> None:
        """The server says how many credits are left."""
        self.limiter.acquire(Priority.RENEWAL)
        self.limiter.answered(RateStatus(left, self.clock.monotonic() + resets_in_s))

    def run(self, jobs: int) -> None:
        """Run so many of the jobs that wait."""
        for _ in range(jobs):
            self.workers.jobs.popleft()()

    def _probe(self, code: str, deadline: Deadline) -> SourceIdentity:
        self.probed.append(code)
        self.on_probe(code)
        return identity(code)
