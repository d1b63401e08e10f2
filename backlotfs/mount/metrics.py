# SPDX-License-Identifier: Apache-2.0
"""The numbers of a mount for Prometheus: ``mount --metrics ADDRESS``.

A scrape reads counters that every mount has, so reads take the same time with and without metrics.
`docs/observability/metrics.md` lists each metric, and a test compares the list with a scrape.
`metrics_server` answers scrapes.

Labels have few values: no file, asset, program or source host is a label. The label ``source`` is
the source that ``df`` shows: ``fsname`` if it is set, else ``backlot:`` with the profile or the
API's host.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from backlotfs import __version__
from backlotfs.api.client import CallKind, CallResult
from backlotfs.api.rate_limiter import Priority
from backlotfs.cache.memory import TIERS
from backlotfs.catalog.db.state import sync_state
from backlotfs.config.settings import MountSettings
from backlotfs.errors import BacklotError
from backlotfs.kernel.lifecycle import uses_session
from backlotfs.kernel.passthrough import PassthroughState
from backlotfs.mount.stack import Stack
from backlotfs.mount.status import count_sizes, next_files
from backlotfs.source.signed_get import Outcome

#: Common errors that programs get. Their counters exist from the start with the value 0, so the
#: first error is an increase.
_COMMON_ERRNOS = ("EACCES", "EIO", "ENODATA", "ENOENT", "ESTALE", "ETIMEDOUT")
_PERCENTILES = (50, 90, 99)


class KernelState(NamedTuple):
    """Numbers from the kernel adapter.

    :ivar waiting_operations: opens and stats that wait now. :ivar waiting_reads: waiting reads.
    """

    waiting_operations: int
    waiting_reads: int
    passthrough: PassthroughState


class MountMetrics:
    """Collects all metrics of one mount."""

    def __init__(
        self, settings: MountSettings, stack: Stack, kernel: Callable[[], KernelState]
    ) -> None:
        self._settings = settings
        self._stack = stack
        self._kernel = kernel
        self._began_s = time.time()

    def collect(self) -> Iterator[Metric]:
        """Read all counters, without those of parts that the mount lacks (disk cache, credits)."""
        yield from self._mount()
        yield from self._reads()
        yield from self._kernel_state()
        yield from self._fetches()
        yield from self._host()
        yield from self._api()
        yield from self._library()
        yield from self._memory()
        yield from self._disk()

    def _mount(self) -> Iterator[Metric]:
        settings = self._settings
        yield _one("build_info", "Always 1; the label is the version.", {"version": __version__})
        yield _one(
            "mount_info",
            "Always 1; the labels say what is mounted where.",
            {
                "source": settings.source,
                "mountpoint": os.fsencode(settings.mountpoint).decode("utf-8", "replace"),
                "fuse_binding": "session" if uses_session(settings.fuse_binding) else "fusepy",
            },
        )
        yield _gauge(
            "mount_start_time_seconds", "When the mount started, since 1970.", self._began_s
        )

    def _reads(self) -> Iterator[Metric]:
        observed = self._stack.reading.metrics
        usage = observed.reads.total()
        yield _counters(
            "reads_total",
            "Reads of the kernel, by how they ended. Those of killed programs are failed.",
            "result",
            {"answered": usage.reads, "failed": usage.failed},
        )
        yield _counter(
            "read_bytes_total",
            "Bytes of answered reads, with the kernel's read-ahead.",
            usage.asked_bytes,
        )
        yield _counters(
            "read_blocks_total",
            "Blocks of 64 KiB of answered reads, by where they were found.",
            "tier",
            dict(zip(TIERS, usage.blocks, strict=True)),
        )
        yield _counters(
            "failed_operations_total",
            "Opens and reads that failed, by errno, without those of killed programs.",
            "errno",
            dict.fromkeys(_COMMON_ERRNOS, 0) | observed.failures.by_errno(),
        )
        yield _gauge(
            "open_files",
            "Number of open file handles.",
            len(self._stack.reading.reader.open_files()),
        )

    def _kernel_state(self) -> Iterator[Metric]:
        state = self._kernel()
        yield _gauge(
            "waiting_operations",
            "Opens and stats that wait now, for a size or an API credit.",
            state.waiting_operations,
        )
        yield _gauge("waiting_reads", "Reads that wait for bytes now.", state.waiting_reads)
        yield _counter(
            "passthrough_opens_total",
            "Opens of complete cached files that the kernel reads itself; no metric has "
            "these reads.",
            state.passthrough.opens,
        )
        yield _gauge(
            "passthrough_open_files",
            "Open files that the kernel reads itself.",
            state.passthrough.files,
        )

    def _fetches(self) -> Iterator[Metric]:
        stack = self._stack
        reading, totals = stack.reading, stack.transport.hosts.totals()
        ahead = next_files(stack)
        yield _counter(
            "used_bytes_total",
            "Fetched bytes that a read has used; each byte counts once, in whole blocks.",
            reading.metrics.reads.used_bytes,
        )
        yield _counter(
            "fetched_bytes_total",
            "Bytes that source hosts have sent.",
            reading.metrics.fetch_rate.total_bytes,
        )
        yield _counter("warmed_bytes_total", "Bytes fetched by warm.", reading.warmer.fetched_bytes)
        yield _counter(
            "next_files_fetched_bytes_total",
            "Bytes fetched of files that were not open, because they were expected to be next.",
            ahead["fetched_bytes"],
        )
        yield _counter(
            "next_files_used_bytes_total",
            "Bytes fetched of files that were not open, and then used by a read.",
            ahead["read_bytes"],
        )
        yield _counters(
            "source_requests_total",
            "GETs to source hosts that have ended, by how.",
            "outcome",
            {outcome.value: totals.outcomes.get(outcome, 0) for outcome in Outcome},
        )
        yield _gauge(
            "source_requests_in_progress",
            "GETs to source hosts that run now.",
            totals.begun - sum(totals.outcomes.values()),
        )
        yield _counter("hedges_total", "Second GETs for data that was late.", totals.hedges)
        yield _counter("hedges_won_total", "Second GETs that delivered first.", totals.hedges_won)
        yield _counter(
            "urls_renewed_total",
            "Signed URLs that the API or its CDN host gave for single files.",
            stack.resolver.refreshes,
        )
        yield _counter(
            "urls_refused_total",
            "Signed URLs that a source host did not take.",
            stack.resolver.refused,
        )

    def _host(self) -> Iterator[Metric]:
        hosts = self._stack.transport.hosts
        with hosts.lock:
            latest = hosts.latest
            latencies = {str(each): latest.first_byte_s(each / 100) for each in _PERCENTILES}
            limit = latest.concurrency_limit
        yield _gauges(
            "source_first_byte_seconds",
            "Time to the first byte of the last 64 GETs of the source host that answered last.",
            "percentile",
            {each: seconds for each, seconds in latencies.items() if seconds is not None},
        )
        yield _gauge(
            "source_concurrency_limit",
            "How many GETs may run at once on the source host that answered last.",
            limit,
        )
        yield _gauge(
            "source_hosts_unreachable",
            "Source hosts to which no connection could be made lately.",
            self._stack.transport.breakers.count_open(),
        )

    def _api(self) -> Iterator[Metric]:
        calls = self._stack.api.count_calls()
        hosts = ("api",) if self._settings.account.cdn_url is None else ("api", "cdn")
        kinds = [CallKind(host, result) for host in hosts for result in CallResult]
        yield _labelled(
            CounterMetricFamily,
            "api_calls_total",
            "Calls of the API and of its CDN host, by how they ended.",
            ("host", "result"),
            {(kind.host, kind.result.value): calls.get(kind, 0) for kind in kinds},
        )
        limiter = self._stack.limiter
        credits = limiter.status()
        yield _gauges(
            "api_calls_waiting",
            "Calls that wait for an API credit, by what they are for.",
            "purpose",
            dict(zip((each.name.lower() for each in Priority), credits.waiting, strict=True)),
        )
        yield _gauge(
            "api_refused_seconds",
            "Seconds for which the API still refuses every call (429).",
            credits.refused_for_s,
        )
        if limiter.counts_credits:
            yield _gauge(
                "api_credits",
                "API credits left in this quota window. Absent if the API counts no calls.",
                credits.credits_left,
            )
            yield _gauge(
                "api_credits_limit",
                "API credits of a quota window. Absent if the API counts no calls.",
                credits.limit,
            )

    def _library(self) -> Iterator[Metric]:
        stack = self._stack
        sizes = count_sizes(stack)
        yield _gauges(
            "assets",
            "Assets that are shown, by whether their size is known; missing: without a source.",
            "size",
            {"known": sizes.sized, "unknown": sizes.to_come, "missing": sizes.missing},
        )
        yield _gauge(
            "library_bytes",
            "Size of all sources whose size is known.",
            stack.namespace.totals().size,
        )
        yield _gauge(
            "syncing", "1 while the listing is refreshed, else 0.", stack.catalog.refreshing
        )
        yield _gauge(
            "stale",
            "1 if the last refresh of the listing failed, else 0.",
            stack.catalog.last_error is not None,
        )
        try:
            synced_at_s = stack.db.read(sync_state).synced_at_s
        except BacklotError:  # another process has locked the file: this scrape has no such value
            return
        yield _gauge(
            "last_sync_timestamp_seconds",
            "When the library was listed or refreshed last, since 1970; 0 before.",
            synced_at_s,
        )

    def _memory(self) -> Iterator[Metric]:
        memory = self._stack.reading.memory_use()
        yield _gauge("memory_limit_bytes", "Memory for blocks.", memory.budget_bytes)
        yield _gauge("memory_cached_bytes", "Memory of cached blocks.", memory.cached_bytes)
        yield _gauge(
            "memory_leased_bytes",
            "Memory of blocks that are received, given to readers or written to the disk.",
            memory.leased_bytes,
        )
        yield _gauge(
            "memory_in_flight_bytes",
            "Blocks of GETs that run or are queued.",
            memory.in_flight_bytes,
        )

    def _disk(self) -> Iterator[Metric]:
        disk, pins = self._stack.reading.disk, self._stack.reading.reconciler.pins
        if disk is None:
            return
        counts = disk.counts
        yield _gauge("disk_cache_limit_bytes", "Disk space for blocks.", disk.budget_bytes)
        yield _gauge("disk_cache_bytes", "Bytes of blocks on the disk.", disk.cached_bytes)
        yield _counters(
            "disk_cache_lookups_total",
            "Blocks looked for on the disk.",
            "result",
            {"hit": counts.hits, "miss": counts.misses},
        )
        yield _counter(
            "disk_cache_damaged_blocks_total",
            "Blocks with a wrong checksum; they were deleted and fetched again.",
            counts.damaged,
        )
        yield _counter(
            "disk_cache_evicted_blocks_total", "Blocks evicted for others.", counts.evicted
        )
        yield _counter(
            "disk_cache_rejected_blocks_total",
            "Blocks not written because the disk was too slow or failed.",
            counts.rejected,
        )
        yield _gauge("pinned_files", "Number of pinned files.", len(pins))
        yield _gauge("pinned_bytes", "Disk space that pinned files take now.", pins.cached_bytes)
        yield _gauge(
            "pinned_needed_bytes",
            "Disk space that pinned files take once they are complete.",
            pins.needed_bytes,
        )
        yield _gauge("pin_quota_bytes", "Disk space that pinned files may take.", pins.quota_bytes)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"backlotfs_{name}", meaning, value=value)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"backlotfs_{name}", meaning, value=value)


def _counters(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    return _labelled(CounterMetricFamily, name, meaning, (label,), _by_label(values))


def _gauges(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    return _labelled(GaugeMetricFamily, name, meaning, (label,), _by_label(values))


def _one(name: str, meaning: str, labels: Mapping[str, str]) -> Metric:
    return _labelled(GaugeMetricFamily, name, meaning, tuple(labels), {tuple(labels.values()): 1})


def _by_label(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(key,): value for key, value in values.items()}


def _labelled(
    family: Callable[..., Metric],
    name: str,
    meaning: str,
    labels: tuple[str, ...],
    values: Mapping[tuple[str, ...], float],
) -> Metric:
    """A metric with a value for each combination of values of its labels."""
    metric = family(f"backlotfs_{name}", meaning, labels=labels)
    for combination, value in values.items():
        metric.add_metric(combination, value)
    return metric
