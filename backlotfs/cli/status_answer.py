"""What a running mount answers to ``status``; `manual.json_shapes` says what each key means."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from backlotfs.errors import BacklotError
from backlotfs.reading.failures import Failure
from backlotfs.recent_rate import SPAN_S
from backlotfs.settings import MountSettings
from backlotfs.wiring import Stack

#: Grows when a key goes or changes its meaning; new keys come without.
SCHEMA = 1


def mount_head(settings: MountSettings) -> dict[str, Any]:
    """Which mount it is."""
    return {
        "source": settings.source,
        "mountpoint": str(settings.mountpoint),
        "pid": os.getpid(),
    }


def status_answer(settings: MountSettings, stack: Stack, began_s: float) -> dict[str, Any]:
    """From memory and the catalog's file, at once. ``began_s``: seconds since the epoch."""
    with contextlib.suppress(BacklotError):
        stack.book.flush()  # what is told as known is kept, whatever happens next
    rows = stack.catalog.library.rows.values()
    sized = sum(stack.book.known(row.embed_code) is not None for row in rows)
    missing = sum(stack.book.unavailable(row) for row in rows)
    error = stack.catalog.last_error
    left = max(0, len(rows) - sized - missing)
    return {
        "schema": SCHEMA,
        **mount_head(settings),
        "since": began_s,
        "assets": len(rows),
        "size_bytes": stack.catalog.total_size(),
        "sizes": {
            "sized": sized,
            "missing": missing,
            "total": len(rows),
            "seconds_left": stack.sizer.seconds_for(left),
        },
        "synced_at": stack.store.state().synced_at_s,
        "syncing": stack.catalog.refreshing,
        "stale": error is not None,
        "last_error": str(error) if error is not None else None,
        "cache": _cache(stack),
        "throughput": _throughput(stack, began_s),
        "credits": stack.purse.snapshot()._asdict(),
        "url_refreshes": stack.resolver.refreshes,
        "errors": [_failure(failure) for failure in stack.observed.failures.latest()],
        "processes": {
            name: {"asked_bytes": usage.asked_bytes, "reads": usage.reads, "failed": usage.failed}
            for name, usage in stack.observed.reads.by_name().items()
        },
        "log": settings.log_place,
    }


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
