"""The planners of the sources that are, or lately were, open, and how they share the memory.

One planner per version of a source: all its handles feed it, and it outlives the last of them,
since players close and open again. The window budget is shared by what is being *read*: an open
file that nobody reads holds none of it. Who needs little leaves the rest to the others
(`fair_cap`).

Locks. Each `Prefetcher` has one for its planner; it is held for arithmetic only. The shares are
settled by whichever reader comes by when they are old, before it takes its own plan's lock.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable

from cachetools import LRUCache

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock
from backlotfs.prefetch.planner import PlanLimits, ReadPlan, ReadPlanner, window_target
from backlotfs.source.bandwidth import HostStats
from backlotfs.source.version import SourceVersion

#: No window is larger: at 60 MB/s a connection this is more than 12 connections need.
MAX_WINDOW_BYTES = 96 * 1024 * 1024
#: Nor smaller, however many files are read.
MIN_WINDOW_BYTES = 1024 * 1024
#: Sources whose planners are kept after the last close, at a few KiB each.
SOURCES_KEPT = 64
#: Of so many files closed last …
FILES_REMEMBERED = 3
#: … so many were read as a whole (`cp -r`, `rsync`): the next is likely to be, too.
FILES_TRUSTED = 2
#: Shares and the host's speed are looked at again after this, in seconds.
SETTLE_S = 0.1
#: What a closed file had on its way is let come for so long: players open it again at once.
CLOSE_GRACE_S = 0.25

#: Asked for the measured speed of a source's host, by embed code; None: nothing is known yet.
StatsOf = Callable[[str], HostStats | None]


def _unknown(_embed_code: str) -> HostStats | None:
    return None


def fair_cap(needs: Iterable[int], budget_bytes: int) -> int:
    """The largest cap under which windows of these ``needs`` stay within the budget together.

    Who needs less than an equal share leaves the rest to the others. Without anyone in need: all.
    """
    rising = sorted(needs)
    left = budget_bytes
    for index, need in enumerate(rising):
        share = left // (len(rising) - index)
        if need > share:
            return share
        left -= need
    return max(budget_bytes, 0)


class WindowBudget:
    """What each window may grow to, in bytes. Any thread may call it."""

    def __init__(self, budget_bytes: int) -> None:
        """``budget_bytes``: what the windows of all streams may add up to."""
        self._budget = budget_bytes
        self._lock = threading.Lock()
        self._settled_s = 0.0
        self._active: set[Prefetcher] = set()
        self.cap_bytes = _within_limits(budget_bytes)

    def settle(self, plan: Prefetcher, now_s: float) -> None:
        """``plan`` is being read; share anew if that is due. Takes the plans' locks in turn."""
        self._active.add(plan)
        if now_s - self._settled_s < SETTLE_S or not self._lock.acquire(blocking=False):
            return
        try:
            self._settled_s = now_s
            needs: list[int] = []
            for active in list(self._active):
                windows = active.windows(now_s)
                needs += windows
                if not windows:
                    self._active.discard(active)
            self.cap_bytes = _within_limits(fair_cap(needs, self._budget))
        finally:
            self._lock.release()


class Prefetcher:
    """What is planned for one version of a source. Any thread may call it; it never waits long."""

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
        #: Whether somebody has begun to look at the file's head for the place of its index.
        self.head_awaited = False

    def observe(self, read: ByteRange, *, missed: bool, late: bool, reader: int) -> ReadPlan:
        """As `ReadPlanner.observe`, now, with this source's share of the memory."""
        now_s = self._clock.monotonic()
        self._shares.settle(self, now_s)
        stats_due = now_s - self._stats_s >= SETTLE_S
        stats = self._stats_of(self._embed_code) if stats_due else None
        with self._lock:
            planner = self._planner
            if stats_due:
                self._stats_s = now_s
                planner.target = window_target(stats)
                planner.latency_s = stats.latency_s if stats else 0.0
            planner.max_window_bytes = self._shares.cap_bytes
            return planner.observe(read, missed=missed, late=late, reader=reader, now_s=now_s)

    def hint(self, index: ByteRange) -> ReadPlan:
        """As `ReadPlanner.hint`."""
        with self._lock:
            return self._planner.hint(index)

    def wanted(self, wanted: ByteRange) -> bool:
        """Whether a reader is on its way to any of this; called before and between blocks."""
        now_s = self._clock.monotonic()
        with self._lock:
            if not self._open and now_s - self._closed_s >= CLOSE_GRACE_S:
                return False
            return self._planner.wanted(wanted, now_s)

    def windows(self, now_s: float) -> list[int]:
        """As `ReadPlanner.windows`; empty once it is closed."""
        with self._lock:
            return self._planner.windows(now_s) if self._open else []

    def opened(self) -> None:
        """One more handle reads it."""
        with self._lock:
            self._open += 1

    def closed(self) -> bool:
        """One handle less. :return: whether the file was ever read as a whole."""
        with self._lock:
            self._open -= 1
            self._closed_s = self._clock.monotonic()
            return self._planner.read_through

    def expect_sequential(self, *, trusted: bool) -> None:
        """Whether it is likely to be read as a whole."""
        with self._lock:
            self._planner.likely_sequential = trusted


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
        """``window_budget_bytes``: what the windows of all streams may add up to."""
        self._clock = clock
        self._block_bytes = block_bytes
        self._stats_of = stats_of
        self._limits = limits
        self._lock = threading.Lock()
        self._kept: LRUCache[tuple[str, str], Prefetcher] = LRUCache(SOURCES_KEPT)
        # Beyond those, whatever a handle refers to.
        self._live: weakref.WeakValueDictionary[tuple[str, str], Prefetcher] = (
            weakref.WeakValueDictionary()
        )
        self._read_through: deque[bool] = deque(maxlen=FILES_REMEMBERED)
        self.shares = WindowBudget(window_budget_bytes)

    def opened(self, version: SourceVersion) -> Prefetcher:
        """The plan of this version, for one more handle; `closed` is its counterpart."""
        plan = self.of(version)
        plan.expect_sequential(trusted=sum(self._read_through) >= FILES_TRUSTED)
        plan.opened()
        return plan

    def closed(self, plan: Prefetcher, *, tells: bool = True) -> None:
        """A handle that `opened` gave it for is released.

        :param tells: how it was read says something of how the next file will be.
        """
        read_through = plan.closed()
        if tells:
            self._read_through.append(read_through)

    def of(self, version: SourceVersion) -> Prefetcher:
        """The plan of this version, new or as its last reader left it."""
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


def _within_limits(cap_bytes: int) -> int:
    return max(MIN_WINDOW_BYTES, min(MAX_WINDOW_BYTES, cap_bytes))
