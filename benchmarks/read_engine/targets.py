# SPDX-License-Identifier: Apache-2.0
"""What is promised of a case, and whether the numbers keep it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.read_engine.contestants import OURS

#: Values of each round, by contestant and then by metric.
Results = Mapping[str, Mapping[str, Sequence[float]]]


class NotMeasured(Exception):
    """A number that a target needs is not among the results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A limit for the median of one of our metrics, or for its ratio to peers'. Exactly one limit.

    :ivar of: names of peers; the limit is for our median divided by the best of theirs.
    :ivar unit: for the text.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    of: tuple[str, ...] = ()
    unit: str = ""

    def __post_init__(self) -> None:
        """:raises ValueError: both limits, or none."""
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a target has one limit")

    @property
    def text(self) -> str:
        """As a table shows it."""
        sign, limit = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        peers = " times " + ("the best of " if len(self.of) > 1 else "") + ", ".join(self.of)
        return f"{sign} {limit:g}{f' {self.unit}' if self.unit else ''}{peers if self.of else ''}"

    def value(self, results: Results) -> float:
        """What the limit is held against.

        :raises NotMeasured: ours, or every peer's, is missing.
        """
        ours = _median(results, OURS.name, self.metric)
        if not self.of:
            return ours
        theirs = [
            _median(results, name, self.metric)
            for name in self.of
            if self.metric in results.get(name, {})
        ]
        if not theirs:
            raise NotMeasured(f"{self.metric} of {', '.join(self.of)}")
        best = max(theirs) if self.at_least is not None else min(theirs)
        return ours / best if best else float("inf")

    def met(self, results: Results) -> bool:
        """Whether it is kept. :raises NotMeasured: see `value`."""
        value = self.value(results)
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


def _median(results: Results, name: str, metric: str) -> float:
    values = results.get(name, {}).get(metric)
    if not values:
        raise NotMeasured(f"{metric} of {name}")
    return statistics.median(values)
