# SPDX-License-Identifier: Apache-2.0
"""Every case by its name, in the order of the page."""

from __future__ import annotations

from benchmarks.read_engine.cases import (
    caching,
    copying,
    exporting,
    first_byte,
    folders,
    memory,
    patterns,
    players,
    probing,
    random_reads,
)
from benchmarks.read_engine.cases.case import Case

IN_ORDER: tuple[Case, ...] = (
    *copying.CASES,
    *exporting.CASES,
    *folders.CASES,
    first_byte.FirstByte(),
    *random_reads.CASES,
    *patterns.CASES,
    *probing.CASES,
    *players.CASES,
    *caching.CASES,
    *memory.CASES,
)
CASES: dict[str, Case] = {case.name: case for case in IN_ORDER}
