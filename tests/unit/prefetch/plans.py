# SPDX-License-Identifier: Apache-2.0
"""A planner for large files, and what it says to reads one after another."""

from __future__ import annotations

from backlotfs.byterange import ByteRange
from backlotfs.prefetch.planner import ReadPlan, ReadPlanner

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
READ = 128 * KIB
CAP = 64 * MIB


def planner(size: int = 40 * GIB, cap: int = CAP) -> ReadPlanner:
    """For a large file, unless a test needs its end."""
    return ReadPlanner(size, max_window_bytes=cap, block_bytes=READ // 2)


def read_on(plan: ReadPlanner, start: int, count: int, reader: int = 0) -> list[ReadPlan]:
    """``count`` reads one after another from ``start``."""
    return [
        plan.observe(ByteRange(at, at + READ), reader=reader)
        for at in range(start, start + count * READ, READ)
    ]


def ahead(plans: list[ReadPlan]) -> list[ByteRange]:
    """The requests of all the plans."""
    return [request for plan in plans for request in plan.requests]


def total(plans: list[ReadPlan]) -> int:
    """Their bytes."""
    return sum(request.length for request in ahead(plans))
