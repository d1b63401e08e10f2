# SPDX-License-Identifier: Apache-2.0
"""Reads that go forward, but not one after the other: with gaps, or in two places at once."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.read_engine.arena import Arena, Sources
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.contestants import OURS, RCLONE, RCLONE_16X4, Contestant
from benchmarks.read_engine.metering import Meter
from benchmarks.read_engine.sources import GIB, MIB, stamp, stamped_folder
from benchmarks.read_engine.targets import Target

_READ_BYTES = 512 * MIB
#: rclone without flags has 60 MB/s: half a GiB twice a round would take most of the time.
_READ_BY_DEFAULT_BYTES = 128 * MIB
_FILE = "pattern.mov"
SOURCES = Sources("pattern", lambda folder: stamped_folder(folder, {_FILE: 4 * GIB}), GIB)


class Step(NamedTuple):
    """One read of one MiB: which of the open files, and where."""

    reader: int
    start: int


class Pattern(Case):
    """A pattern and a plain sequential read of as many bytes, each on a new mount."""

    sources = SOURCES
    contestants = (OURS, RCLONE, RCLONE_16X4)
    shown = "of_sequential"
    readers = 1

    @abstractmethod
    def steps(self, length: int) -> Iterator[Step]:
        """The pattern, ``length`` bytes of it."""

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """Both, and their ratio."""
        length = _READ_BY_DEFAULT_BYTES if contestant == RCLONE else _READ_BYTES
        with arena.mount(contestant) as mount, Meter(mount, arena.origin) as plain:
            _read(mount.mountpoint / _FILE, 1, (Step(0, at) for at in range(0, length, MIB)))
        with arena.mount(contestant) as mount, Meter(mount, arena.origin) as meter:
            _read(mount.mountpoint / _FILE, self.readers, self.steps(length))
        values, sequential = meter.values(length), plain.values(length)["rate_mb_s"]
        return {
            "of_sequential": values["rate_mb_s"] / sequential,
            "rate_mb_s": values["rate_mb_s"],
            "sequential_mb_s": sequential,
            "fetched_ratio": values["fetched_ratio"],
            "cpu_s_per_gb": values["cpu_s_per_gb"],
        }


class Skipping(Pattern):
    """4 MiB are read, 1 MiB is left out, and so on."""

    name = "remote-skip"
    title = "remote, read 4 MiB, skip 1 MiB, …"
    targets = (Target(metric="of_sequential", at_least=0.8),)

    def steps(self, length: int) -> Iterator[Step]:
        """Four of five."""
        for number in range(length // MIB):
            yield Step(0, (number // 4 * 5 + number % 4) * MIB)


class Alternating(Pattern):
    """Two readers of one file, 3 GB apart, a MiB each in turn."""

    name = "remote-two-readers"
    title = "remote, two readers 3 GB apart, 1 MiB in turn"
    targets = (Target(metric="of_sequential", at_least=0.7),)
    readers = 2

    def steps(self, length: int) -> Iterator[Step]:
        """One here, one there."""
        for start in range(0, length // 2, MIB):
            yield Step(0, start)
            yield Step(1, 3 * GIB + start)


def _read(path: Path, readers: int, steps: Iterator[Step]) -> None:
    name, buffer = path.name.encode(), bytearray(MIB)
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb", buffering=0)) for _ in range(readers)]
        for step in steps:
            length = os.preadv(files[step.reader].fileno(), [buffer], step.start)
            if length != MIB or not buffer.startswith(stamp(name, step.start)):
                raise SystemExit(f"wrong bytes at {step.start}")


CASES: tuple[Case, ...] = (Skipping(), Alternating())
