# SPDX-License-Identifier: Apache-2.0
"""What a soak has shown, and what is to be said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.soak.process_figures import Figures, growth
from tests.soak.profile_bad import CALLS, KINDS, URL_LIFE_S
from tests.soak.readers import Reader

P99_S = 5.0
#: The same for files of the host that is well, beside a hostile one.
HEALTHY_P99_S = 1.0
#: Until an upload is listed, with a look each second; until a host that is well again is of use.
UPLOAD_S, RECOVERY_S = 10.0, 5.0
#: Threads, descriptors and MiB by which the mount may differ between the last two thirds.
FLAT = Figures(24, 24, 24.0)
#: A URL is renewed when three quarters of its life have passed; it and ``Date`` name whole seconds.
EARLIEST_RENEWAL_S = URL_LIFE_S * 0.75 - 2
#: A run of this length has met each kind of fault.
ENOUGH_S = 120.0


@dataclass
class Hostility:
    """What a hostile host did, and what it did to the others.

    :ivar healthy: readers of the host that was well. :ivar tormented: those of the hostile one,
        whose errors are its own. :ivar requests: how many it had.
    :ivar uploads_s: until each was listed, or so long in vain.
    :ivar recovery_s: until all files of the hostile host could be read again.
    """

    healthy: Sequence[Reader]
    tormented: Sequence[Reader]
    requests: int
    uploads_s: Sequence[float]
    recovery_s: float

    @property
    def reads(self) -> int:
        """Of the host that was well."""
        return sum(len(reader.latencies_s) for reader in self.healthy)

    @property
    def p99_s(self) -> float:
        """Of the reads of the host that was well."""
        latencies = sorted(one for reader in self.healthy for one in reader.latencies_s) or [0.0]
        return latencies[int(0.99 * (len(latencies) - 1))]

    @property
    def slowest_upload_s(self) -> float:
        """Seconds until it was listed."""
        return max(self.uploads_s, default=0.0)


@dataclass
class Evidence:
    """All that the judgement looks at.

    :ivar looks: at the mount's process, in order.
    :ivar url_gaps_s: between two signed URLs of one asset, of all assets.
    :ivar requests: how many of each route. :ivar struck: how often each kind of fault.
    :ivar memory: of ``backlotfs stats``, after all readers have closed.
    """

    seconds: float
    readers: Sequence[Reader]
    looks: list[Figures]
    url_gaps_s: Sequence[float]
    requests: Mapping[str, int]
    struck: Mapping[str, int]
    memory: Mapping[str, int]
    hostility: Hostility

    def figures(self) -> Iterator[str]:
        """For a terminal."""
        read = sum(reader.read_bytes for reader in self.readers)
        p50, p99, worst = (self._latency_s(part) for part in (0.5, 0.99, 1.0))
        grown, last = growth(self.looks), self.looks[-1]
        yield (
            f"{len(self._latencies_s())} reads, {read / 1e6:.0f} MB in {self.seconds:.0f} s "
            f"by {len(self.readers)} readers"
        )
        yield f"wrong reads {len(self._wrong())}, errors {', '.join(self._errors()) or 0}"
        yield f"latency p50 {p50 * 1e3:.1f} ms, p99 {p99:.2f} s, worst {worst:.2f} s"
        yield (
            f"URLs renewed {len(self.url_gaps_s)} times, {self._shortest_gap_s():.1f} s apart at "
            f"least of one asset (of a life of {URL_LIFE_S:g} s)"
        )
        bad = self.hostility
        yield (
            f"host that is well: {bad.reads} reads, p99"
            f" {bad.p99_s:.2f} s; hostile host: {bad.requests} requests, well again after"
            f" {bad.recovery_s:.1f} s; {len(bad.uploads_s)} uploads, the slowest seen after"
            f" {bad.slowest_upload_s:.1f} s"
        )
        calls = sum(self.requests.get(route, 0) for route in CALLS)
        yield f"{self.requests.get('source', 0)} GETs of sources, {calls} calls of the API"
        yield "faults: " + ", ".join(f"{self.struck.get(kind, 0)} {kind}" for kind in KINDS)
        yield (
            f"threads {last.threads} ({grown.threads:+d}), descriptors {last.descriptors}"
            f" ({grown.descriptors:+d}), resident {last.resident_mib:.0f} MiB"
            f" ({grown.resident_mib:+.1f})"
        )
        yield "memory for blocks, bytes: " + ", ".join(
            f"{name.removesuffix('_bytes')} {count}" for name, count in self.memory.items()
        )

    def failures(self) -> list[str]:
        """The promises that did not hold."""
        wrong, errors, p99 = self._wrong(), self._errors(), self._latency_s(0.99)
        grown, closest = growth(self.looks), self._shortest_gap_s()
        absent = [kind for kind in KINDS if not self.struck.get(kind)]
        in_use = self.memory["leased_bytes"] + self.memory["in_flight_bytes"]
        verdicts = {
            f"wrong bytes: {wrong[:3]}": not wrong,
            f"errors: {errors}": not errors,
            f"p99 of {p99:.2f} s is above {P99_S:g} s": p99 <= P99_S,
            f"two URLs of one asset within {closest:.1f} s": closest >= EARLIEST_RENEWAL_S,
            f"not flat: {grown}": all(a <= b for a, b in zip(grown, FLAT, strict=True)),
            "a reader hangs": not any(reader.is_alive() for reader in self._all_readers()),
            "the host that is well was not read": self.hostility.reads > 0,
            "the hostile host was not asked": self.hostility.requests > 0,
            "nothing was uploaded": bool(self.hostility.uploads_s) or self.seconds < ENOUGH_S,
            f"p99 of the host that is well is {self.hostility.p99_s:.2f} s": (
                self.hostility.p99_s <= HEALTHY_P99_S
            ),
            f"an upload was seen after {self.hostility.slowest_upload_s:.1f} s": (
                self.hostility.slowest_upload_s <= UPLOAD_S
            ),
            f"the hostile host's files came back after {self.hostility.recovery_s:.1f} s": (
                self.hostility.recovery_s <= RECOVERY_S
            ),
            f"memory in use when nobody reads: {in_use} bytes": not in_use,
            f"no fault of {', '.join(absent)}": not absent or self.seconds < ENOUGH_S,
        }
        return [failure for failure, held in verdicts.items() if not held]

    def _wrong(self) -> list[str]:
        return [line for reader in self._all_readers() for line in reader.wrong]

    def _all_readers(self) -> list[Reader]:
        return [*self.readers, *self.hostility.healthy, *self.hostility.tormented]

    def _errors(self) -> list[str]:
        total: Counter[str] = Counter()
        for reader in [*self.readers, *self.hostility.healthy]:
            total.update(reader.errors)
        return [f"{count} {name}" for name, count in total.items()]

    def _latencies_s(self) -> list[float]:
        return sorted(one for reader in self.readers for one in reader.latencies_s)

    def _latency_s(self, part: float) -> float:
        latencies = self._latencies_s() or [0.0]
        return latencies[int(part * (len(latencies) - 1))]

    def _shortest_gap_s(self) -> float:
        return min(self.url_gaps_s, default=URL_LIFE_S)
