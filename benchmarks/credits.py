# SPDX-License-Identifier: Apache-2.0
"""API calls, and what they make of time: first mounts, further mounts, a day of work.

Run: ``python -m benchmarks.credits [--without-cdn]``, the part with the CDN host as root. The rest
is a simulation: the emulator's API side, its rate limiter and the whole stack but the kernel, in
virtual time (`benchmarks.virtual_time`). Where a simulation would take too long, what the smaller
libraries showed is computed, and marked.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import cdn_mount
from benchmarks.report import table, write_section
from benchmarks.virtual_account import (
    EDITS,
    HOURS_IN_USE,
    LATENCY_S,
    TTL_S,
    UPLOADS,
    Day,
    FirstMount,
    VirtualAccount,
)

_CREDITS_A_MINUTE = 300 * 0.8
_PAGE = 500
_PERIODS_IN_USE = int(HOURS_IN_USE * 3600 / TTL_S)
_IDLE_HOURS = 24 - HOURS_IN_USE
#: Crawled in the simulation up to here; a larger library's sizes are written as probes would.
_CRAWLED = 10_000
#: Simulated at all up to here.
_SIMULATED = 100_000
_LIBRARIES = (1_000, 10_000, 100_000, 1_000_000)
_CDN_ASSETS = 10_000


class Costs(NamedTuple):
    """Of one library; None: not simulated."""

    assets: int
    first: FirstMount | None
    again: Counter[str] | None
    day: Day | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, measure and write the section."""
    parser = argparse.ArgumentParser(prog="benchmarks.credits")
    parser.add_argument("--without-cdn", action="store_true")
    options = parser.parse_args(arguments)
    costs = [_simulate(assets) for assets in _LIBRARIES]
    parts = [
        f"This is a simulation in virtual time with the emulator's rate limiter: 300 calls a "
        f"minute, of which the mount uses 80 %, {LATENCY_S * 1000:.0f} ms for each answer, a "
        f"metadata TTL of {TTL_S / 60:.0f} minutes. *Computed* values follow from the smaller "
        f"libraries: one call per page of {_PAGE} and one per size. The least time "
        "for all sizes is the time in which 80 % of the credits suffice.",
        _first_mounts(costs),
        _other_mounts(costs),
        _days(costs),
    ]
    if not options.without_cdn:
        parts.append(_beside_cdn(cdn_mount.first_mount(_CDN_ASSETS, LATENCY_S)))
    write_section("credits", "\n\n".join(parts))


def _simulate(assets: int) -> Costs:
    if assets > _SIMULATED:
        return Costs(assets, None, None, None)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="backlotfs-bench-") as cache:
        account = VirtualAccount(assets, Path(cache))
        first = account.first_mount(crawl=assets <= _CRAWLED)
        again = account.another_mount(hours_later=1)
        day = account.day()
    print(f"{assets} assets simulated in {time.monotonic() - began_s:.0f} s")
    return Costs(assets, first, again, day)


def _first_mounts(costs: list[Costs]) -> str:
    rows = []
    for one in costs:
        pages = math.ceil(one.assets / _PAGE)
        allowed_s = one.assets / _CREDITS_A_MINUTE * 60
        calls, listed = f"{1 + pages + one.assets} *computed*", "*computed* " + _listing(pages)
        sized, ratio, stat = f"*computed* {_duration(allowed_s)}", "", ""
        if one.first is not None:
            listed = f"{one.first.listed_s:.1f} s"
        if one.first is not None and one.assets <= _CRAWLED:
            calls, sized = str(one.first.calls.total()), _duration(one.first.sized_s)
            over = one.first.sized_s / allowed_s
            # in a short crawl, the last window and the first weigh more
            ratio = f"{over:.3f}{' **missed**' if one.assets == _CRAWLED and over > 1.05 else ''}"
            longest_s = one.first.longest_stat_s
            stat = f"{longest_s:.2f} s{'' if longest_s <= 2 else ' **missed**'}"
        rows.append([str(one.assets), calls, listed, sized, ratio, stat])
    head = ["assets", "API calls", "mount answers", "every size known"]
    promised = [
        "of what 80 % of the credits allow (10 000: ≤ 1.05)",
        "longest `stat` beside (≤ 2 s)",
    ]
    return "First mount, no CDN host:\n\n" + table([*head, *promised], rows)


def _other_mounts(costs: list[Costs]) -> str:
    rows = []
    for one in costs:
        if one.again is None:
            rows.append([str(one.assets), "as above, *computed*", ""])
            continue
        calls, promised = one.again.total(), 3 + 2 * 2
        verdict = f"≤ 3 + 2 a period: {promised}{'' if calls <= promised else ' **missed**'}"
        rows.append([str(one.assets), f"{calls}: {_in_words(one.again)}", verdict])
    title = "A second mount an hour later, observed for ten minutes, with one `ls -l` after five:"
    return f"{title}\n\n" + table(["assets", "API calls", "promised"], rows)


def _days(costs: list[Costs]) -> str:
    rows = []
    for one in costs:
        pages = math.ceil(one.assets / _PAGE)
        in_use = 2 * _PERIODS_IN_USE + UPLOADS + EDITS
        promised = in_use + pages
        idle = promised + 2 * _IDLE_HOURS
        if one.day is None:
            computed = f"*computed* {promised} to {idle}"
            rows.append([str(one.assets), f"*computed* {in_use}", computed, str(promised), ""])
            continue
        calls = one.day.in_use.total()
        verdict = "kept" if calls <= in_use and one.day.whole.total() <= idle else "**missed**"
        whole = f"{one.day.whole.total()}: {_in_words(one.day.whole)}"
        rows.append([str(one.assets), str(calls), whole, str(promised), verdict])
    title = (
        f"A day with {UPLOADS} uploads and {EDITS} edits. The mount is used for {HOURS_IN_USE} "
        f"hours and idle for {_IDLE_HOURS}. Promised: 2 calls a period in use, one per new or "
        "edited asset, and the full listing. While idle, 2 calls an hour come on top:"
    )
    head = ["assets", f"API calls of the {HOURS_IN_USE} hours", "of the day", "promised", ""]
    return f"{title}\n\n" + table(head, rows)


def _beside_cdn(seen: cdn_mount.CdnMount) -> str:
    kept = "" if seen.sized_s <= 60 else " **missed**"
    return (
        f"First mount of {_CDN_ASSETS} beside a CDN host, in real time, every answer of either "
        f"host {LATENCY_S * 1000:.0f} ms late: the mount answers after {seen.listed_s:.1f} s, "
        f"every size is known after {seen.sized_s:.1f} s (promised: ≤ 60 s{kept}), for "
        f"{seen.calls.total()} credits ({_in_words(seen.calls)}); the CDN host had "
        f"{seen.cdn_calls.total()} calls. CPU of the mount: {seen.cpu_s:.1f} s."
    )


def _listing(pages: int) -> str:
    windows = (pages - 1) // int(_CREDITS_A_MINUTE)
    return _duration(windows * 60 + (pages - windows * _CREDITS_A_MINUTE) * LATENCY_S)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _in_words(calls: Counter[str]) -> str:
    return ", ".join(f"{count} `{route}`" for route, count in sorted(calls.items())) or "none"


if __name__ == "__main__":
    main()
