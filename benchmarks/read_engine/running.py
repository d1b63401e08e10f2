# SPDX-License-Identifier: Apache-2.0
"""Rounds of a case: the contestants one after the other, in an order that rotates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.read_engine.arena import arena
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.contestants import Contestant
from benchmarks.read_engine.metrics import METRICS
from benchmarks.read_engine.results import CaseResults
from benchmarks.read_engine.sources import require_memory, touch_memory
from benchmarks.report import machine


def run_case(case: Case, rounds: int, work: Path, only: frozenset[str]) -> CaseResults:
    """Measure a case, and print what comes.

    :param work: a folder on tmpfs; the case's files stay there for other cases.
    :param only: names of contestants; empty: all.
    :raises SystemExit: it cannot be measured, or an answer was wrong.
    """
    began_s = time.monotonic()
    sources = work / case.sources.name
    require_memory(case.sources.memory_bytes)
    touch_memory(case.sources.memory_bytes)
    if not sources.exists():
        sources.mkdir()
        case.sources.build(sources)
    chosen = [one for one in case.contestants if not only or one.name in only]
    results = CaseResults(case.name, machine())
    with arena(work, case.profile, sources) as place:
        for number in range(rounds):
            for contestant in rotated(chosen, number):
                numbers = case.run(place, contestant)
                results.add(contestant.name, numbers)
                print(f"{case.name} {number + 1}/{rounds} {contestant.name:13}", _line(numbers))
    print(f"{case.name} took {time.monotonic() - began_s:.0f} s")
    return results


def rotated(contestants: Sequence[Contestant], number: int) -> list[Contestant]:
    """Their order in a round: nobody always follows the same one and gains from what it leaves."""
    start = number % len(contestants) if contestants else 0
    order = [*contestants[start:], *contestants[:start]]
    return order if number % 2 == 0 else order[::-1]


def _line(numbers: dict[str, float]) -> str:
    parts = []
    for name, value in numbers.items():
        metric = METRICS[name]
        parts.append(f"{metric.title} {value:.{metric.digits}f}")
    return "  ".join(parts)
