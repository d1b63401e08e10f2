# SPDX-License-Identifier: Apache-2.0
"""Computes rates over time and the present readers from successive answers of a mount. Pure.

An answer to ``status`` has totals since the mount started, and so has each point of the ``history``
in an answer to ``stats``. A rate is a difference of totals, divided by the time between them.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

#: An answer to ``status``.
Answer = Mapping[str, Any]


class Sample(NamedTuple):
    """What a mount had read and fetched at one time.

    :ivar at_s: seconds on any clock that does not go back.
    """

    at_s: float
    read_bytes: float
    fetched_bytes: float


def rates(points: Sequence[tuple[float, float]], edges: Sequence[float]) -> list[float | None]:
    """The mean rate between each edge and the next, from totals at other times.

    The total is taken to grow evenly between two points. Outside of the points the total is not
    known. A span that is partly outside has the rate of its known part; a span without a known part
    has None.

    :param points: pairs of time and total, both ascending. :param edges: times, ascending.
    """
    if not points:
        return [None] * max(0, len(edges) - 1)
    times = [time for time, _ in points]
    first_s, last_s = times[0], times[-1]
    found: list[float | None] = []
    for begin_s, end_s in itertools.pairwise(edges):
        known_s = min(end_s, last_s) - max(begin_s, first_s)
        if known_s <= 0:
            found.append(None)
            continue
        passed = _total_at(points, times, min(end_s, last_s)) - _total_at(
            points, times, max(begin_s, first_s)
        )
        found.append(max(0.0, passed) / known_s)
    return found


def _total_at(points: Sequence[tuple[float, float]], times: Sequence[float], at_s: float) -> float:
    """The total at a time from the first to the last point."""
    after = bisect_right(times, at_s)
    if after == len(points):
        return points[-1][1]
    (begin_s, begin), (end_s, end) = points[after - 1], points[after]
    return begin + (end - begin) * (at_s - begin_s) / (end_s - begin_s)


class Reader(NamedTuple):
    """A program that reads, or has read.

    :ivar bytes_per_s: the rate at which it reads now. :ivar asked_bytes: all that it has read.
    :ivar failed: the number of its reads that failed.
    """

    name: str
    bytes_per_s: float
    asked_bytes: int
    failed: int


@dataclass(frozen=True, slots=True)
class Change:
    """What happened between two answers of a mount.

    :ivar blocks: the number of blocks that were read between the answers, by tier.
    :ivar readers: ordered by their present rate, then by all that they have read, highest first.
    """

    blocks: dict[str, int]
    readers: list[Reader]


def change(older: Answer, newer: Answer, seconds: float) -> Change:
    """Compare two answers of the same mount process, ``seconds`` apart."""

    def per_second(after: float, before: float) -> float:
        return max(0.0, after - before) / seconds if seconds > 0 else 0.0

    before, after = (answer["reads"]["blocks"] for answer in (older, newer))
    earlier = older["processes"]
    readers = [
        Reader(
            name,
            per_second(usage["asked_bytes"], earlier.get(name, {"asked_bytes": 0})["asked_bytes"]),
            usage["asked_bytes"],
            usage["failed"],
        )
        for name, usage in newer["processes"].items()
    ]
    readers.sort(key=lambda one: (-one.bytes_per_s, -one.asked_bytes, one.name))
    return Change(
        {tier: max(0, count - before.get(tier, 0)) for tier, count in after.items()},
        readers,
    )


class Watched:
    """The answers of one mountpoint, as far as pictures and rates need them.

    When another mount process answers, the answers of the earlier process are dropped.
    """

    #: A present rate is the mean over this time.
    NOW_S = 5.0
    #: The possible time spans of a picture: the shortest that holds all samples, else the longest.
    BACK_S = (60.0, 120.0, 300.0)

    def __init__(self, history: Iterable[Sample] = ()) -> None:
        """Begin with the samples of the time before the first answer."""
        self._samples = list(history)
        self._answers: list[tuple[float, Answer]] = []

    @property
    def latest(self) -> Answer:
        """The last answer. There is one."""
        return self._answers[-1][1]

    @property
    def at_s(self) -> float:
        """The time of the last answer."""
        return self._answers[-1][0]

    def add(self, at_s: float, answer: Answer) -> None:
        """Take the answer that came at this time."""
        if self._answers and answer["since"] != self.latest["since"]:
            self._answers, self._samples = [], []
        self._answers.append((at_s, answer))
        # keep one answer that is at least `NOW_S` old, to compare with
        while len(self._answers) > 2 and self._answers[1][0] <= at_s - self.NOW_S:
            del self._answers[0]
        whole = answer["throughput"]["since_start"]
        last = self._samples[-1] if self._samples else Sample(-math.inf, 0, 0)
        if at_s > last.at_s:
            self._samples.append(
                Sample(
                    at_s,
                    max(last.read_bytes, whole["read_bytes"]),
                    max(last.fetched_bytes, whole["fetched_bytes"]),
                )
            )
        while len(self._samples) > 2 and self._samples[1].at_s <= at_s - self.BACK_S[-1]:
            del self._samples[0]

    @property
    def back_s(self) -> float:
        """The time span of a picture that is drawn now."""
        known_s = self.at_s - self._samples[0].at_s
        return next((back_s for back_s in self.BACK_S if back_s >= known_s), self.BACK_S[-1])

    def now(self) -> Change:
        """What happened in about the last `NOW_S` seconds, or since the first answer."""
        (older_s, older), (newer_s, newer) = self._answers[0], self._answers[-1]
        return change(older, newer, newer_s - older_s)

    def columns(self, count: int) -> tuple[list[float | None], list[float | None]]:
        """The rates of reads and of fetches in ``count`` equal parts of the last `back_s` seconds.

        The parts begin at multiples of their length, so that a picture moves by whole columns.
        """
        each_s = self.back_s / count
        end = math.floor(self.at_s / each_s) + 1
        edges = [(end - count + number) * each_s for number in range(count + 1)]
        read = rates([(one.at_s, one.read_bytes) for one in self._samples], edges)
        fetched = rates([(one.at_s, one.fetched_bytes) for one in self._samples], edges)
        return read, fetched


def samples_of(history: Iterable[Mapping[str, Any]], ahead_s: float = 0.0) -> list[Sample]:
    """The points of ``history`` in an answer to ``stats``, each later than the one before.

    :param ahead_s: subtracted from each time, to convert it to another clock.
    """
    found: list[Sample] = []
    for point in history:
        at_s = point["at"] - ahead_s
        if not found or at_s > found[-1].at_s:
            found.append(Sample(at_s, point["read_bytes"], point["fetched_bytes"]))
    return found
