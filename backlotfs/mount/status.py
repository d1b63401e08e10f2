# SPDX-License-Identifier: Apache-2.0
"""The reports on a mount: the answer to ``status``, the numbers in the log, the SIGUSR1 dump.

`manual/texts/json.md` describes each key of the answer to ``status``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.cache.memory import TIERS
from backlotfs.catalog.db.rows import SizedCounts
from backlotfs.catalog.db.state import sized_counts, sync_state
from backlotfs.concurrency.clock import Clock
from backlotfs.config.settings import MountSettings
from backlotfs.errors import BacklotError
from backlotfs.kernel.lifecycle import uses_session
from backlotfs.kernel.read_requests import Usage
from backlotfs.log import events
from backlotfs.mount.control.server import Handler
from backlotfs.mount.history import Totals
from backlotfs.mount.stack import Stack
from backlotfs.open_files.recent_errors import Failure
from backlotfs.source.bandwidth import SPAN_S
from backlotfs.untrusted_numbers import LARGEST

#: Version of the answer. It is increased when a key is removed or changes its meaning.
SCHEMA = 1
#: An export without a report for this long counts as ended; one usually reports every 2 s.
EXPORT_SILENT_S = 60.0
#: The keys of an export's report. Each value is a number.
_OF_EXPORTS = ("pid", "files", "of_files", "bytes")
#: Largest number of waiting programs in the answer.
SHOWN_WAITING = 50

log = logging.getLogger(__name__)


def mount_head(settings: MountSettings) -> dict[str, Any]:
    """The keys that identify the mount in an answer."""
    return {
        "source": settings.source,
        "mountpoint": str(settings.mountpoint),
        "pid": os.getpid(),
    }


def count_sizes(stack: Stack) -> SizedCounts:
    """Count the known, missing and unknown sizes; sizes that are not saved yet count as known."""
    return stack.versions.count(stack.catalog.library.rows)


class WaitingProgram(NamedTuple):
    """A program that waits for an operation of the mount.

    :ivar pid: process id. :ivar name: as ``ps`` shows it. :ivar embed_code: the asset.
    :ivar reads: whether it waits for bytes; otherwise for a size.
    """

    pid: int
    name: str
    embed_code: str
    reads: bool


class RunningExports:
    """The running exports of files of this mount, which may not read through it. Thread-safe.

    An export reports its progress in its ``status`` requests.
    """

    def __init__(self, clock: Clock) -> None:
        """Start without exports."""
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[int, tuple[float, dict[str, int]]] = {}

    def hear(self, progress: object) -> None:
        """Keep the report of an export; any other value is ignored."""
        if not isinstance(progress, dict):
            return
        kept: dict[str, int] = {
            name: value
            for name in _OF_EXPORTS
            if type(value := progress.get(name)) is int and 0 <= value <= LARGEST
        }
        if len(kept) == len(_OF_EXPORTS):
            with self._lock:
                self._heard[kept["pid"]] = self._clock.monotonic(), kept

    def now(self) -> list[dict[str, int]]:
        """The last report of each export that still runs."""
        since_s = self._clock.monotonic() - EXPORT_SILENT_S
        with self._lock:
            self._heard = {
                pid: (heard_s, progress)
                for pid, (heard_s, progress) in self._heard.items()
                if heard_s >= since_s and os.path.exists(f"/proc/{pid}")
            }
            return [progress for _, progress in self._heard.values()]


def status_answer(
    settings: MountSettings, stack: Stack, began_s: float, waiting: Iterable[WaitingProgram]
) -> dict[str, Any]:
    """Build the answer to ``status`` from memory and the catalog's file.

    :param began_s: start of the mount in seconds since the epoch.
    :param waiting: the programs whose operations wait now, for any reason.
    """
    # Read this before the sizes are counted: if it is False, the count includes the last sync.
    syncing = stack.catalog.refreshing or stack.notifier.pending
    with contextlib.suppress(BacklotError):
        stack.versions.flush()  # save every size that the answer counts as known
    sizes = count_sizes(stack)
    error = stack.catalog.last_error
    return {
        "schema": SCHEMA,
        **mount_head(settings),
        "since": began_s,
        "fuse_binding": "session" if uses_session(settings.fuse_binding) else "fusepy",
        "assets": sizes.total,
        "size_bytes": stack.namespace.totals().size,
        "choice": _choice(stack),
        "sizes": {
            **sizes._asdict(),
            # 0.0 means that there are enough credits: they do not limit the speed, so it is null.
            "seconds_left": stack.probes.seconds_for(sizes.to_come) or None,
        },
        "synced_at": stack.db.read(sync_state).synced_at_s,
        "syncing": syncing,
        "stale": error is not None,
        "last_error": str(error) if error is not None else None,
        "cache": _cache(stack),
        "throughput": _throughput(stack, began_s),
        "reads": usage_answer(stack.reading.metrics.reads.total()),
        "next_files": next_files(stack),
        "credits": _credits(stack.limiter),
        "waiting": _waiting(stack, waiting),
        "url_refreshes": stack.resolver.refreshes,
        "errors": [_failure(failure) for failure in stack.reading.metrics.failures.latest()],
        "processes": {
            name: {"asked_bytes": usage.asked_bytes, "reads": usage.reads, "failed": usage.failed}
            for name, usage in stack.reading.metrics.reads.by_name().items()
        },
        "log": settings.log_place,
    }


def _choice(stack: Stack) -> dict[str, Any] | None:
    """The rules of the mount, and the number of assets they choose from; None without rules."""
    choice = stack.catalog.presented.admit.choice
    if choice is None:
        return None
    return {
        **choice.texts,
        "unknown_labels": list(stack.catalog.unknown_labels),
        "of_assets": stack.catalog.counted().total,
    }


def _credits(limiter: ApiRateLimiter) -> dict[str, Any]:
    """The account's API credits; null where the server does not count calls."""
    credits = limiter.status()._asdict()
    if not limiter.counts_credits:
        unknown = ("credits_left", "limit", "resets_in_s", "more_in_s", "share", "share_left")
        credits |= dict.fromkeys(unknown)
    return credits


def _waiting(stack: Stack, waiting: Iterable[WaitingProgram]) -> list[dict[str, Any]]:
    """The programs that wait for an API credit; one entry for each program and file."""
    probes = stack.probes
    queued = {entry for entry in waiting if probes.is_queued(entry.embed_code)}
    shown = [
        {
            "pid": entry.pid,
            "program": entry.name,
            "file": stack.namespace.name_of(entry.embed_code),
            "for": "url" if entry.reads else "size",
            "seconds": probes.seconds_until(entry.embed_code),
        }
        for entry in queued
    ]
    shown.sort(key=lambda line: (line["seconds"], line["pid"], line["file"]))
    return shown[:SHOWN_WAITING]


def _cache(stack: Stack) -> dict[str, Any]:
    memory, disk, pins = (
        stack.reading.memory_use(),
        stack.reading.disk,
        stack.reading.reconciler.pins,
    )
    return {
        "memory": {"cached_bytes": memory.cached_bytes, "budget_bytes": memory.budget_bytes},
        "disk": disk and {"cached_bytes": disk.cached_bytes, "budget_bytes": disk.budget_bytes},
        "pinned": disk
        and {
            "files": len(pins),
            "cached_bytes": pins.cached_bytes,
            "needed_bytes": pins.needed_bytes,
            "quota_bytes": pins.quota_bytes,
        },
    }


def _throughput(stack: Stack, began_s: float) -> dict[str, Any]:
    observed = stack.reading.metrics
    read_bytes = observed.reads.total().asked_bytes
    fetched_bytes = observed.fetch_rate.total_bytes  # includes GETs that still run
    up_s = max(1.0, time.time() - began_s)
    return {
        "now": {
            "over_s": SPAN_S,
            "read_bytes_per_s": round(observed.read_rate.bytes_per_s()),
            "fetched_bytes_per_s": round(observed.fetch_rate.bytes_per_s()),
        },
        "since_start": {
            "read_bytes": read_bytes,
            "fetched_bytes": fetched_bytes,
            "read_bytes_per_s": round(read_bytes / up_s),
            "fetched_bytes_per_s": round(fetched_bytes / up_s),
        },
    }


def read_totals(stack: Stack) -> Totals:
    """The current totals for the history."""
    observed = stack.reading.metrics
    reads = observed.reads.total()
    return Totals(reads.asked_bytes, observed.fetch_rate.total_bytes, tuple(reads.blocks))


def usage_answer(usage: Usage) -> dict[str, Any]:
    """The reads of all programs with one name, or of all programs."""
    return {
        "asked_bytes": usage.asked_bytes,
        "reads": usage.reads,
        "failed": usage.failed,
        "blocks": dict(zip(TIERS, usage.blocks, strict=True)),
    }


def next_files(stack: Stack) -> dict[str, int]:
    """The bytes that the prefetch across files has fetched, and how many were and were not read."""
    # `read_bytes` is taken first, so it is not larger than `fetched_bytes`.
    read_bytes = stack.reading.metrics.reads.before_open_bytes
    fetched_bytes = stack.reading.loader.before_open_bytes
    return {
        "fetched_bytes": fetched_bytes,
        "read_bytes": read_bytes,
        "unread_bytes": max(0, fetched_bytes - read_bytes),
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "at": failure.at_s,
        "file": failure.name,
        "embed_code": failure.embed_code,
        "errno": failure.errno,
        "reason": failure.reason,
        "times": failure.times,
    }


class MinuteReport:
    """Logs the numbers of events that are too frequent for a line each.

    These are refused signed URLs and newly known sizes. `log` is called once a minute. Not
    thread-safe.
    """

    def __init__(self, stack: Stack, clock: Clock) -> None:
        """Start to count."""
        self._stack = stack
        self._clock = clock
        self._logged_s = clock.monotonic()
        self._renewed = self._refused = 0
        self._known = -1

    def log(self) -> None:
        """Log what changed since the last call; nothing if nothing changed.

        :raises BacklotError: the catalog cannot be read.
        """
        resolver = self._stack.resolver
        renewed, refused = resolver.refreshes, resolver.refused
        now_s = self._clock.monotonic()
        if refused > self._refused:
            events.URLS.log(
                log,
                refused=refused - self._refused,
                renewed=renewed - self._renewed,
                seconds=round(now_s - self._logged_s),
            )
        self._renewed, self._refused, self._logged_s = renewed, refused, now_s
        if self._stack.catalog.presented.admit.choice is None:
            counts = self._stack.db.read(sized_counts)
        else:
            counts = count_sizes(self._stack)
        if self._known not in (-1, counts.sized):
            events.SIZES.log(log, known=counts.sized, total=counts.total)
        self._known = counts.sized


#: Largest number of open files that the state dump names; the count includes all.
NAMES_SHOWN = 50


def dump_state(handlers: Mapping[str, Handler], stack: Stack) -> None:
    """Log the stack of every thread, then the answers to ``status`` and ``stats`` (SIGUSR1).

    The stacks are logged first: they are the most useful part when a mount hangs, and reading them
    takes no lock. They have files, lines and functions, but no values. Threads with the same stack,
    such as idle workers of a pool, share a line.

    :param handlers: those of the control socket.
    :raises BacklotError: the state cannot be read; the threads are logged already.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames_by_thread = _frames()
    by_place: dict[str, list[str]] = {}
    for ident, frame in frames_by_thread.items():
        place = " > ".join(_place(call) for call in traceback.extract_stack(frame))
        # Python has no name for threads that libfuse has started; their number is logged.
        by_place.setdefault(place, []).append(names.get(ident, str(ident)))
    for frames, threads in by_place.items():
        events.STACK.log(log, threads=sorted(threads), frames=frames)
    open_files = stack.reading.reader.open_files()
    stats = handlers["stats"]({})
    details = {
        "status": handlers["status"]({}),
        "stats": {key: value for key, value in stats.items() if key != "history"},
        "open": open_files[:NAMES_SHOWN],
    }
    events.STATE.log(
        log,
        assets=len(stack.catalog.library.rows),
        open_files=len(open_files),
        threads=len(frames_by_thread),
        details=details,
    )


def _frames() -> dict[int, FrameType]:
    """The current frame of every thread.

    The garbage collector is off during the call: before Python 3.12.1, a finalizer that ran inside
    `sys._current_frames` could block the whole process for ever (CPython issue 106883).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if was_enabled:
            gc.enable()


def _place(call: traceback.FrameSummary) -> str:
    path = Path(call.filename)
    return f"{path.parent.name}/{path.name}:{call.lineno} {call.name}"
