# SPDX-License-Identifier: Apache-2.0
"""Answers of a mount, made up, and the picture that ``status --watch`` draws of them."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from backlotfs.cli.live_status import frame
from backlotfs.cli.read_rates import Sample, Watched

MIB = 1 << 20
ERROR = {"at": 1_456_868_592.5, "file": "/clip.mov", "embed_code": "E1", "errno": "EIO",
         "reason": "source host h answers 503", "times": 3}  # fmt: skip
WAITING = {"pid": 71, "program": "mpv", "file": "late.mov", "for": "url", "seconds": 12.0}


def status(read: int = 0, **more: Any) -> dict[str, Any]:
    """An answer to ``status`` of a busy mount."""
    programs = {
        f"prog{n}": {"asked_bytes": read // (n + 1), "reads": 1, "failed": n} for n in range(20)
    }
    whole = {"read_bytes": read, "fetched_bytes": read // 2}
    return {
        "source": "backlot:main", "mountpoint": "/mnt/a", "pid": 7, "since": 1_456_868_592.0,
        "assets": 10, "synced_at": 0.0, "stale": False, "last_error": None, "size_bytes": 3 << 30,
        "sizes": {"sized": 4, "missing": 1, "total": 10, "seconds_left": 4000.0},
        "syncing": False, "errors": [ERROR] * 9, "processes": programs,
        "cache": {"memory": {"cached_bytes": MIB, "budget_bytes": 1 << 28}, "disk": None,
                  "pinned": None},
        "throughput": {"now": {"read_bytes_per_s": 2048, "fetched_bytes_per_s": 1024},
                       "since_start": whole | {"read_bytes_per_s": 10, "fetched_bytes_per_s": 20}},
        "reads": {"asked_bytes": read, "reads": 3, "failed": 0,
                  "blocks": {"memory": 6 * read // MIB, "disk": 0, "network": 2 * read // MIB}},
        "next_files": {"fetched_bytes": 3 * MIB, "read_bytes": 2 * MIB, "unread_bytes": MIB},
        "credits": {"credits_left": 200, "limit": 300, "more_in_s": 41.0, "waiting": [0, 1, 0, 0],
                    "share": None, "share_left": None},
        "waiting": [WAITING] * 9, "exports": [], "url_refreshes": 3, "fuse_binding": "session",
        "passthrough": {"off": "", "opens": 5, "files": 2}, "log": "syslog",
        "choice": None, **more,
    }  # fmt: skip


def watched(**more: Any) -> Watched:
    """A mount that has read a MiB in the last second, and as much each 10 s before."""
    seen = Watched(Sample(900.0 + 10 * n, n * MIB, n * MIB // 2) for n in range(10))
    for second in range(3):
        seen.add(1000.0 + second, status((10 + second) * MIB, **more))
    return seen


def drawn(
    seen: Watched,
    width: int = 80,
    height: int = 24,
    *,
    silent_s: float = 0.0,
    encoding: str = "utf-8",
) -> str:
    """The picture on a terminal of this size, without colours."""
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding)
    console = Console(file=file, width=width, height=height, no_color=True, force_terminal=False)
    return frame(seen, console, silent_s).plain


def usage(asked: int, reads: int, failed: int, *blocks: int) -> dict[str, Any]:
    """One name's part of the answer."""
    tiers = dict(zip(("memory", "disk", "network"), blocks, strict=True))
    return {"asked_bytes": asked, "reads": reads, "failed": failed, "blocks": tiers}


STATS: dict[str, Any] = {
    "source": "backlot:main", "mountpoint": "/mnt/a", "pid": 7, "since": 1_456_868_592.0,
    "reads": usage(3 << 20, 12, 1, 6, 3, 1),
    "processes": {"cp": usage(2 << 20, 8, 0, 4, 3, 1), "ffprobe": usage(1 << 20, 4, 1, 2, 0, 0)},
    "fetched_bytes": 6 << 20, "amplification": 2.0, "unused_bytes": 1536,
    "warmed_bytes": 5 << 20,
    "next_files": {"fetched_bytes": 3 << 20, "read_bytes": 2 << 20, "unread_bytes": 1 << 20},
    "requests": {
        "made": 9, "whole": 6, "dropped": 2, "overloaded": 0, "cut": 1, "refused": 0,
    },
    "hedges": {"made": 2, "won": 1}, "url_refreshes": 3,
    "memory": {
        "budget_bytes": 256 << 20, "cached_bytes": 64 << 20, "leased_bytes": 1 << 20,
        "in_flight_bytes": 4 << 20,
    },
    "disk": {
        "cached_bytes": 1 << 30, "budget_bytes": 10 << 30, "hits": 3, "misses": 1, "damaged": 0,
        "evicted": 5, "rejected": 6,
    },
    "passthrough": {"off": "", "opens": 7, "files": 1},
    "history": [
        {"at": 1_456_868_592.0 + 10 * n, "read_bytes": n << 20, "fetched_bytes": 2 * n << 20,
         "blocks": {"memory": 2 * n, "disk": n, "network": n}}
        for n in range(4)
    ],
}  # fmt: skip
