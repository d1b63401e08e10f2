# SPDX-License-Identifier: Apache-2.0
"""A probe scheduler with everything it asks, held by the test."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, RateStatus, Turn
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.probe_scheduler import PROBE_THREADS, ProbeScheduler
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.workers import Workers
from backlotfs.errors import RateLimited
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import row, source_version
from tests.fakes.workers import HeldWorkers
from tests.unit.rate_limiter.model_server import ModelServer


class Schedule:
    """A scheduler over made-up assets, before a server that counts calls.

    The assets are known to the library, and none of them is sized.

    :ivar probed: embed codes, in the order of their probes.
    :ivar paid: priority of each call that cost a credit, in order.
    :ivar urls: sources whose URL is known, or that the CDN host can tell of.
    :ivar on_prepare: called with each embed code before its URL is asked for.
    """

    def __init__(
        self,
        *codes: str,
        credits: int = 300,
        window_s: float = 60.0,
        credit_wait_s: float = 3600.0,
        threads: bool = False,
    ) -> None:
        """``threads``: jobs run on threads of their own; else when the test says so."""
        self.clock = ManualClock()
        self.server = ModelServer(credits, window_s)
        self.rows: dict[str, AssetRow] = {code: row(code) for code in codes}
        self.held = HeldWorkers()
        self.probed: list[str] = []
        self.paid: list[Priority] = []
        self.urls: set[str] = set()
        self.on_prepare: Callable[[str], None] = lambda _code: None
        self.on_probe: Callable[[str], None] = lambda _code: None
        self.on_store: Callable[[], None] = lambda: None
        self.leased_by = ""
        self.limits: list[int] = []
        self.limiter = ApiRateLimiter(
            self.clock,
            credits=credits,
            window_s=window_s,
            credit_wait_s=credit_wait_s,
            wait=self._wait,
        )
        self.versions = SourceVersionCache(self.clock, self.rows.get, lambda _records: None)
        # what is learned is not written in these tests, and no thread is needed for that
        self.versions._writing = threading.current_thread()
        fake: Any = self
        self.lease = fake
        self.scheduler = ProbeScheduler(
            fake,
            self._probe,
            self.versions,
            fake,
            self.limiter,
            Workers(PROBE_THREADS, "probe") if threads else self.held,
            self.clock,
        )

    def spend(self, calls: int) -> None:
        """Somebody of this mount makes so many calls of the API."""
        for _ in range(calls):
            self.limiter.acquire(Priority.WAITING)
            self._answer("others")

    def list_folder(self, codes: Iterable[str]) -> None:
        """Somebody lists a folder of these."""
        self.scheduler.prioritize([self.rows[code] for code in codes])

    def is_free(self, embed_code: str) -> bool:
        """As the URL resolver."""
        return embed_code in self.urls

    def to_probe(self, limit: int) -> list[str]:
        """As the database says: also what was probed a moment ago and is not written yet."""
        self.on_store()
        self.limits.append(limit)
        return list(self.rows)[:limit]

    def take(self) -> bool:
        """As the lease on the backfill: whether this mount may do it."""
        self.on_store()
        self.leased_by = self.leased_by or "this mount"
        return self.leased_by == "this mount"

    def release(self) -> None:
        """As the lease: others may do it."""
        if self.leased_by == "this mount":
            self.leased_by = ""

    def _probe(
        self, code: str, deadline: Deadline, priority: Priority, turn: Turn | None
    ) -> SourceVersion:
        """A call of the API, unless the URL is known, and a byte of the source."""
        self.on_prepare(code)
        if code not in self.urls:
            if turn is None or not turn.use():
                self.limiter.acquire(priority, key=code, deadline=deadline)
            self.paid.append(priority)
            self._answer("probes")
            self.urls.add(code)
        self.probed.append(code)
        self.on_probe(code)
        return source_version(code)

    def _answer(self, who: str) -> None:
        verdict = self.server.call(who, self.clock.monotonic())
        assert verdict.granted, "a call beyond the credits"
        ends_s = self.clock.monotonic() + verdict.reset_s
        self.limiter.answered(RateStatus(verdict.credits_left, ends_s))

    def _wait(self, condition: threading.Condition, seconds: float) -> None:
        self.clock.advance(seconds)


def no_credit(_code: str) -> None:
    """For `Schedule.on_prepare`: the call was refused until it had waited too long."""
    raise RateLimited("no API credit came", retry_after_s=None)
