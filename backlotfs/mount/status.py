"""What a running mount answers to ``status``; `manual/texts/json.md` says what each key means."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.catalog.db.rows import SizedCounts
from backlotfs.catalog.db.state import sync_state
from backlotfs.config.settings import MountSettings
from backlotfs.errors import BacklotError
from backlotfs.mount.stack import Stack
from backlotfs.open_files.recent_errors import Failure
from backlotfs.source.bandwidth import SPAN_S

#: Grows when a key goes or changes its meaning; new keys come without.
SCHEMA = 1
#: Programs shown that wait for an API credit.
SHOWN_WAITING = 50


def mount_head(settings: MountSettings) -> dict[str, Any]:
    """Which mount it is."""
    return {
        "source": settings.source,
        "mountpoint": str(settings.mountpoint),
        "pid": os.getpid(),
    }


def count_sizes(stack: Stack) -> SizedCounts:
    """Of the files that are listed, with what is not in the catalog's file yet."""
    sized = missing = 0
    rows = stack.catalog.library.rows
    for row in rows.values():
        if stack.versions.known(row.embed_code) is not None:
            sized += 1
        elif stack.versions.unavailable(row):
            missing += 1
    return SizedCounts(sized, missing, len(rows))


class WaitingProgram(NamedTuple):
    """A program that waits.

    :ivar pid: its process id. :ivar name: as ``ps`` shows it.
    :ivar embed_code: what it waits for. :ivar reads: whether it waits for bytes, not for a size.
    """

    pid: int
    name: str
    embed_code: str
    reads: bool


def status_answer(
    settings: MountSettings, stack: Stack, began_s: float, waiting: Iterable[WaitingProgram]
) -> dict[str, Any]:
    """The answer, from memory and the catalog's file.

    :param began_s: when the mount began, in seconds since the epoch.
    :param waiting: the programs whose operations wait now, for whatever reason.
    """
    with contextlib.suppress(BacklotError):
        stack.versions.flush()  # what is told as known is kept, whatever happens next
    sizes = count_sizes(stack)
    error = stack.catalog.last_error
    return {
        "schema": SCHEMA,
        **mount_head(settings),
        "since": began_s,
        "assets": sizes.total,
        "size_bytes": stack.catalog.total_size(),
        "sizes": {
            **sizes._asdict(),
            # 0.0: the credits are there, so how long it takes depends on what nobody knows.
            "seconds_left": stack.probes.seconds_for(sizes.to_come) or None,
        },
        "synced_at": stack.db.read(sync_state).synced_at_s,
        "syncing": stack.catalog.refreshing,
        "stale": error is not None,
        "last_error": str(error) if error is not None else None,
        "cache": _cache(stack),
        "throughput": _throughput(stack, began_s),
        "credits": _credits(stack.limiter),
        "waiting": _waiting(stack, waiting),
        "url_refreshes": stack.resolver.refreshes,
        "errors": [_failure(failure) for failure in stack.observed.failures.latest()],
        "processes": {
            name: {"asked_bytes": usage.asked_bytes, "reads": usage.reads, "failed": usage.failed}
            for name, usage in stack.observed.reads.by_name().items()
        },
        "log": settings.log_place,
    }


def _credits(limiter: ApiRateLimiter) -> dict[str, Any]:
    """What is left of the account's calls; null where the server does not count them."""
    credits = limiter.status()._asdict()
    if not limiter.counts_credits:
        credits |= dict.fromkeys(("credits_left", "limit", "resets_in_s", "more_in_s"))
    return credits


def _waiting(stack: Stack, waiting: Iterable[WaitingProgram]) -> list[dict[str, Any]]:
    """Those that wait for an API credit; a program that reads one file twice is shown once."""
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
    memory, disk, pins = stack.memory_use(), stack.disk, stack.keeper.pins
    return {
        "memory": {"held_bytes": memory.cached_bytes, "budget_bytes": memory.budget_bytes},
        "disk": disk and {"held_bytes": disk.held_bytes, "budget_bytes": disk.budget_bytes},
        "pinned": disk
        and {
            "files": len(pins),
            "held_bytes": pins.held_bytes,
            "needed_bytes": pins.needed_bytes,
            "quota_bytes": pins.quota_bytes,
        },
    }


def _throughput(stack: Stack, began_s: float) -> dict[str, Any]:
    observed = stack.observed
    read_bytes = observed.reads.total().asked_bytes
    fetched_bytes = stack.gets.totals().fetched_bytes
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


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "at": failure.at_s,
        "file": failure.name,
        "embed_code": failure.embed_code,
        "errno": failure.errno,
        "reason": failure.reason,
        "times": failure.times,
    }
