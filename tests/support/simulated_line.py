"""A line to a source host in virtual time: latency, a rate per connection, a cap on the total."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from backlotfs.fetch.hosts import ConcurrencyController
from backlotfs.source.signed_get import GetRecord, Outcome

MB = 1_000_000
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """What a host and the way to it are like; rates in bytes/s.

    :ivar total: what all connections share, by their number: a cap, or the strength of two cores.
    :ivar refuses_beyond: connections at once beyond which it answers 503.
    :ivar jitter: by which part latencies differ from each other.
    """

    latency_s: float
    new_latency_s: float
    per_connection: float
    total: Callable[[int], float] = lambda _count: math.inf
    refuses_beyond: int = 10_000
    jitter: float = 0.3


@dataclass(slots=True)
class _Get:
    started_s: float
    flows_at_s: float
    left_bytes: float
    refused: bool
    new: bool


@dataclass(slots=True)
class Run:
    """What came of it. ``widths``: (virtual time, width) at each change."""

    seconds: float = 0.0
    received_bytes: int = 0
    gets: int = 0
    refusals: int = 0
    widths: list[tuple[float, int]] = field(default_factory=list)

    @property
    def bytes_per_s(self) -> float:
        """Throughput over the whole run."""
        return self.received_bytes / self.seconds

    def median_width(self, since_s: float) -> int:
        """The width that was exceeded half of the time after ``since_s``."""
        spans = zip(self.widths, [*self.widths[1:], (self.seconds, 0)], strict=True)
        weights = sorted(
            (width, max(0.0, end - max(since_s, at))) for (at, width), (end, _) in spans
        )
        half, passed = sum(weight for _, weight in weights) / 2, 0.0
        for width, weight in weights:
            passed += weight
            if passed >= half:
                return width
        raise AssertionError("the run was over by then")


def drive(
    line: Line,
    controller: ConcurrencyController,
    *,
    request_bytes: int = 4 * MIB,
    until_bytes: float = math.inf,
    until_s: float = math.inf,
    wanted: int = 10_000,
) -> Run:
    """Keep as many GETs under way as the controller allows, ``wanted`` at most."""
    dice = random.Random(4)
    run = Run(widths=[(0.0, controller.width)])
    now, under_way, idle = 0.0, list[_Get](), 0
    while run.received_bytes < until_bytes and now < until_s:
        while len(under_way) < min(controller.width, wanted):
            new, idle = idle == 0, max(0, idle - 1)
            latency_s = line.new_latency_s if new else line.latency_s
            latency_s *= 1 + line.jitter * (2 * dice.random() - 1)
            refused = len(under_way) >= line.refuses_beyond
            under_way.append(
                _Get(now, now + latency_s, 0 if refused else request_bytes, refused, new)
            )
            controller.began(now)
        flowing = [get for get in under_way if get.flows_at_s <= now + 1e-12]
        rate = 0.0
        if flowing:
            rate = min(line.per_connection, line.total(len(flowing)) / len(flowing))
        waits = [get.flows_at_s - now for get in under_way if get.flows_at_s > now + 1e-12]
        waits += [get.left_bytes / rate for get in flowing]
        step = min(waits)
        now += step
        for get in flowing:
            get.left_bytes -= rate * step
        for get in [get for get in flowing if get.left_bytes < 1]:
            under_way.remove(get)
            idle += 1
            size = 0 if get.refused else request_bytes
            outcome = Outcome.OVERLOADED if get.refused else Outcome.WHOLE
            first_s = get.flows_at_s - get.started_s
            record = GetRecord(
                "h", "E", get.new, get.started_s, first_s, now - get.started_s, size, outcome
            )
            controller.start_for(first_s, now)
            controller.ended(record, now)
            run.gets += 1
            run.refusals += get.refused
            run.received_bytes += size
            if controller.width != run.widths[-1][1]:
                run.widths.append((now, controller.width))
    run.seconds = now
    return run
