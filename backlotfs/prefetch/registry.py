# SPDX-License-Identifier: Apache-2.0
"""The prefetchers of the open sources, and how they share the memory for windows.

There is one prefetcher for each version of a source. All handles on the version use it. After the
last handle is closed, the prefetcher is kept while the version is one of the last `SOURCES_KEPT`
that were opened, because players close and open files again. Files that are being read share the
window budget; an open file that is not read gets none of it. A window that needs less than an equal
share leaves the remainder to the others (`fair_cap`).

Locks. Each `Prefetcher` has a lock for its planner; no I/O happens under it. The shares are
computed again by the first read after `SHARES_EVERY_S`, before it takes the lock of its prefetcher.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

from cachetools import LRUCache

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock
from backlotfs.prefetch.planner import (
    WINDOW_REQUESTS,
    PlanLimits,
    ReadPlan,
    ReadPlanner,
    window_target,
)
from backlotfs.source.bandwidth import HostStats
from backlotfs.source.version import SourceVersion

#: All windows together have about this many requests: twice as many as a host gets at once. So the
#: windows of many readers have few large requests, or only one, which cost less.
ALL_REQUESTS = 64
#: Largest window: more than 12 connections at 60 MB/s each need.
MAX_WINDOW_BYTES = 96 * 1024 * 1024
#: Smallest limit of a window, even if many files are read.
MIN_WINDOW_BYTES = 1024 * 1024
#: Number of the last opened sources whose prefetchers are kept, at a few KiB each.
SOURCES_KEPT = 64
#: Shares of the memory, and windows for the speed of the host, are computed at most this often.
SHARES_EVERY_S = 0.1
#: Prefetch of a closed file continues for this long, because players open files again at once.
CLOSE_GRACE_S = 0.25

#: Returns the measured speed of a source's host, by embed code; None if it was not measured.
StatsOf = Callable[[str], HostStats | None]


def _unknown(_embed_code: str) -> HostStats | None:
    return None


def fair_cap(needs: Iterable[int], budget_bytes: int) -> int:
    """The largest limit with which windows of these ``needs`` together stay within the budget.

    A window that needs less than an equal share leaves the remainder to the others. If all needs
    together fit the budget, the limit is the budget.
    """
    rising = sorted(needs)
    left = budget_bytes
    for index, need in enumerate(rising):
        share = left // (len(rising) - index)
        if need > share:
            return share
        left -= need
    return max(budget_bytes, 0)


class HasWindows(Protocol):
    """Something that fetches ahead: a `Prefetcher`, or the prefetch across files."""

    def windows(self, now_s: float) -> list[int]:
        """The bytes that each of its windows needs now; empty: it needs no memory."""


class WindowBudget:
    """The limit of each window, in bytes and in requests. Any thread may call it."""

    def __init__(self, budget_bytes: int) -> None:
        """``budget_bytes``: limit for all windows together."""
        self._budget = budget_bytes
        self._lock = threading.Lock()
        self._settled_s = 0.0
        self._active: set[HasWindows] = set()
        self.cap_bytes = MIN_WINDOW_BYTES  # until the first read
        self.window_requests = WINDOW_REQUESTS

    def settle(self, plan: HasWindows, now_s: float) -> None:
        """Note that ``plan`` is being read, and compute the shares again if that is due.

        It takes the locks of all active prefetchers, one at a time.
        """
        self._active.add(plan)
        if now_s - self._settled_s < SHARES_EVERY_S or not self._lock.acquire(blocking=False):
            return
        try:
            self._settled_s = now_s
            needs: list[int] = []
            for active in list(self._active):
                windows = active.windows(now_s)
                needs += windows
                if not windows:
                    self._active.discard(active)
            each = -(-ALL_REQUESTS // max(1, len(needs)))
            self.window_requests = min(WINDOW_REQUESTS, each)
            cap_bytes = fair_cap(needs, self._budget)
            self.cap_bytes = max(MIN_WINDOW_BYTES, min(MAX_WINDOW_BYTES, cap_bytes))
        finally:
            self._lock.release()


class Prefetcher:
    """Plans the prefetch of one version of a source. Any thread may call it; it does no I/O."""

    __slots__ = (
        "__weakref__", "_clock", "_closed_s", "_embed_code", "_lock", "_open", "_planner",
        "_shares", "_stats_of", "_stats_s", "head_awaited",
    )  # fmt: skip

    def __init__(
        self,
        embed_code: str,
        planner: ReadPlanner,
        shares: WindowBudget,
        clock: Clock,
        stats_of: StatsOf,
    ) -> None:
        self._embed_code = embed_code
        self._planner = planner
        self._shares = shares
        self._clock = clock
        self._stats_of = stats_of
        self._lock = threading.Lock()
        self._open = 0
        self._closed_s = self._stats_s = float("-inf")
        #: Whether a reader has begun to look in the file's head for the place of its index.
        self.head_awaited = False

    def observe(self, read: ByteRange, *, missed: bool, late: bool, reader: int) -> ReadPlan:
        """See `ReadPlanner.observe`; the time and the limit of the window are set here."""
        now_s = self._clock.monotonic()
        self._shares.settle(self, now_s)
        stats_due = now_s - self._stats_s >= SHARES_EVERY_S
        stats = self._stats_of(self._embed_code) if stats_due else None
        with self._lock:
            planner = self._planner
            if stats_due:
                self._stats_s = now_s
                planner.target = window_target(stats)
                planner.latency_s = stats.latency_s if stats else 0.0
            planner.max_window_bytes = self._shares.cap_bytes
            planner.window_requests = self._shares.window_requests
            return planner.observe(read, missed=missed, late=late, reader=reader, now_s=now_s)

    def hint(self, index: ByteRange) -> ReadPlan:
        """See `ReadPlanner.hint`."""
        with self._lock:
            return self._planner.hint(index)

    def wanted(self, wanted: ByteRange) -> bool:
        """Whether a reader still needs any byte of this range soon; called before each block."""
        now_s = self._clock.monotonic()
        with self._lock:
            if not self._open and now_s - self._closed_s >= CLOSE_GRACE_S:
                return False
            return self._planner.wanted(wanted, now_s)

    def windows(self, now_s: float) -> list[int]:
        """See `ReadPlanner.windows`; empty if the source is not open."""
        with self._lock:
            return self._planner.windows(now_s) if self._open else []

    def opened(self) -> None:
        """Count a handle that was opened."""
        with self._lock:
            self._open += 1

    def closed(self) -> None:
        """Count a handle that was closed."""
        with self._lock:
            self._open -= 1
            self._closed_s = self._clock.monotonic()

    def expect(self, expected_bytes: int | None) -> None:
        """Set how much of the file is probably read, from its head; None: not known."""
        with self._lock:
            self._planner.expected_bytes = expected_bytes


class PrefetcherRegistry:
    """A `Prefetcher` for each version of a source. Any thread may call it."""

    def __init__(
        self,
        clock: Clock,
        *,
        window_budget_bytes: int,
        block_bytes: int,
        stats_of: StatsOf = _unknown,
        limits: PlanLimits | None = None,
    ) -> None:
        """``window_budget_bytes``: limit for all windows together."""
        self._clock = clock
        self._block_bytes = block_bytes
        self._stats_of = stats_of
        self._limits = limits
        self._lock = threading.Lock()
        self._kept: LRUCache[tuple[str, str], Prefetcher] = LRUCache(SOURCES_KEPT)
        # All prefetchers in use: the kept ones, and those that open handles refer to.
        self._live: weakref.WeakValueDictionary[tuple[str, str], Prefetcher] = (
            weakref.WeakValueDictionary()
        )
        self.shares = WindowBudget(window_budget_bytes)

    def opened(self, version: SourceVersion, expected_bytes: int | None = None) -> Prefetcher:
        """The prefetcher of this version, for a new handle.

        Call `Prefetcher.closed` when the handle is closed.

        :param expected_bytes: how much is probably read, from the head; None: not known.
        """
        plan = self.of(version)
        plan.expect(expected_bytes)
        plan.opened()
        return plan

    def wanted(self, version: SourceVersion, wanted: ByteRange) -> bool:
        """Whether a reader of an open file still needs any byte of this range soon."""
        with self._lock:
            plan = self._live.get((version.embed_code, version.validator))
        return plan is not None and plan.wanted(wanted)

    def of(self, version: SourceVersion) -> Prefetcher:
        """The prefetcher of this version: a kept one, or a new one."""
        key = version.embed_code, version.validator
        with self._lock:
            plan = self._live.get(key)
            if plan is None:
                planner = ReadPlanner(
                    version.size,
                    max_window_bytes=self.shares.cap_bytes,
                    block_bytes=self._block_bytes,
                    limits=self._limits,
                )
                plan = Prefetcher(
                    version.embed_code, planner, self.shares, self._clock, self._stats_of
                )
                self._live[key] = plan
            self._kept[key] = plan
            return plan
