# SPDX-License-Identifier: Apache-2.0
"""Small reads all over a file, as databases and project files make them."""

from __future__ import annotations

import os
import random
import statistics
import time

from benchmarks.read_engine.arena import Arena
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.cases.copying import LARGE
from benchmarks.read_engine.contestants import OURS, RCLONE, RCLONE_16X4, Contestant
from benchmarks.read_engine.metering import Meter
from benchmarks.read_engine.sources import GIB
from benchmarks.read_engine.targets import Target

_PAGE_BYTES = 4096


class RandomReads(Case):
    """One thread, one open file, reads of one size at places of which none is near another."""

    sources = LARGE
    contestants = (OURS, RCLONE, RCLONE_16X4)

    def __init__(
        self, size: int, text: str, count: int, targets: tuple[Target, ...], shown: str
    ) -> None:
        """``text``: the size in words."""
        self.name = f"remote-random-{text.split()[0]}k"
        self.title = f"remote, random {text}, cold"
        self.targets = targets
        self.shown = shown
        self._size = size
        self._count = count

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """The same places for everyone."""
        places = random.Random(self._size).sample(
            range((GIB - self._size) // _PAGE_BYTES), self._count
        )
        took_ms = []
        with (
            arena.mount(contestant) as mount,
            (arena.sources / "large.bin").open("rb") as source,
        ):
            # closed before the meter ends: a transfer that is held open has no line in the log
            with (
                Meter(mount, arena.origin) as meter,
                (mount.mountpoint / "large.bin").open("rb", buffering=0) as file,
            ):
                for place in places:
                    start_s = time.monotonic()
                    data = os.pread(file.fileno(), self._size, place * _PAGE_BYTES)
                    took_ms.append((time.monotonic() - start_s) * 1e3)
                    if data != os.pread(source.fileno(), self._size, place * _PAGE_BYTES):
                        raise SystemExit(f"wrong bytes at {place * _PAGE_BYTES}")
            values = meter.values(self._size * self._count)
        return {
            "median_ms": statistics.median(took_ms),
            "p95_ms": statistics.quantiles(took_ms, n=20)[-1],
            "fetched_ratio": values["fetched_ratio"],
            "requests": len(meter.answers),
            "pss_mb": values["pss_mb"],
        }


CASES: tuple[Case, ...] = (
    RandomReads(
        4096,
        "4 KiB",
        60,
        (
            Target(metric="median_ms", at_most=35, unit="ms"),
            Target(metric="p95_ms", at_most=50, unit="ms"),
            Target(metric="fetched_ratio", at_most=32),
        ),
        "median_ms",
    ),
    RandomReads(65536, "64 KiB", 60, (Target(metric="fetched_ratio", at_most=3),), "fetched_ratio"),
)
