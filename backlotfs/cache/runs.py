"""Runs of neighbouring numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def runs_of(numbers: Iterable[int], longest: int) -> list[range]:
    """Split ascending numbers into runs of neighbours, none longer than ``longest``."""
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number and len(runs[-1]) < longest:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs
