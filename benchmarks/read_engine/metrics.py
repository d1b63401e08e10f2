# SPDX-License-Identifier: Apache-2.0
"""The numbers by name: what a table calls each, and how many of its digits mean something."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """:ivar title: with its unit."""

    title: str
    digits: int


METRICS = {
    "rate_mb_s": Metric("MB/s", 0),
    "of_sequential": Metric("part of the sequential rate", 2),
    "sequential_mb_s": Metric("sequential MB/s", 0),
    "wall_s": Metric("s", 2),
    "bare_s": Metric("of these without a mount, s", 2),
    "kept_ms": Metric("first byte on a kept-alive connection, ms", 1),
    "kept_share": Metric("of these, on a kept-alive one", 2),
    "new_ms": Metric("first byte on a new connection, ms", 1),
    "median_ms": Metric("median, ms", 1),
    "p95_ms": Metric("95 %, ms", 1),
    "starved_s": Metric("longest starvation, s", 2),
    "again_mb_s": Metric("re-read, MB/s", 0),
    "again_served_mib": Metric("answered to the kernel for the re-read, MiB", 1),
    "fetched_mib": Metric("MiB fetched", 1),
    "wasted_mib": Metric("MiB fetched for nothing", 1),
    "fetched_ratio": Metric("fetched / asked", 2),
    "requests": Metric("requests", 0),
    "cpu_s_per_gb": Metric("CPU s per GB", 2),
    "pss_mb": Metric("PSS, MB", 0),
}
