# SPDX-License-Identifier: Apache-2.0
"""What each strategy of reading is worth: the same work with and without it, in turn, in one run.

A strategy is switched off by replacing one function of the package in this process; the product has
no such switch. The files come from the emulator, a process of its own: each answer begins after
30 ms, each connection carries 60 MiB/s. The reads go through the stack that a mount builds, without
the kernel. Each case is one for which its strategy is meant.

    .venv/bin/python -m benchmarks.earn_place [--rounds 5] [--only stride]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.profiles import load_account
from backlotfs.config.settings import MountSettings
from backlotfs.fetch.hedging import HedgePolicy
from backlotfs.fetch.hosts import ConcurrencyController
from backlotfs.mount.stack import Stack, build_stack
from backlotfs.open_files import reader as reader_module
from backlotfs.prefetch.planner import ReadPlanner, Stride
from benchmarks.emulation import EmulatorProcess, emulator_process

KIB, MIB = 2**10, 2**20
FILE_BYTES = 384 * MIB
#: Where the index of the film begins: far from its head and from its end.
INDEX_AT = 256 * MIB
#: As many GETs at once as one would choose without a controller.
FIXED_WIDTH = 12
REMOTE: tuple[Mapping[str, Any], ...] = (
    {"fault": "delay", "seconds": 0.03, "route": "source"},
    {"fault": "trickle", "bytes_per_s": 60 * MIB, "route": "source"},
)
#: One GET in a hundred begins three seconds late.
HANGS: Mapping[str, Any] = {
    "fault": "delay",
    "seconds": 3.0,
    "route": "source",
    "probability": 0.01,
}
_CLOCK = SystemClock()
_PATIENCE_S = 60.0


class Reading:
    """One open file of a fresh stack; reads as a program does, one after another."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        version = stack.namespace.open(stack.namespace.find("/film.mp4"), self._waiter())
        self.fh = stack.reading.reader.open(version, name="film.mp4")

    def read(self, offset: int, size: int) -> float:
        """Read; how many seconds it took."""
        began_s = time.perf_counter()
        read = self.stack.reading.reader.begin(self.fh, offset, size)
        if read is None:
            return 0.0
        done = threading.Event()
        read.add_done_callback(done.set)
        read.look_ahead()
        if not done.wait(_PATIENCE_S) or read.error is not None:
            raise SystemExit(f"a read failed: {read.error or 'no answer'}")
        return time.perf_counter() - began_s

    def read_through(self, start: int, length: int, step: int = 128 * KIB) -> float:
        """Read a stretch in steps; how many seconds it took."""
        return sum(self.read(at, step) for at in range(start, start + length, step))

    def _waiter(self) -> InterruptibleWait:
        return InterruptibleWait(Deadline(_PATIENCE_S, _CLOCK), lambda: False)


class Case(NamedTuple):
    """Work that a strategy is meant for.

    :ivar off: switches the strategy off.
    :ivar work: reads, and returns the figure to compare, in seconds.
    :ivar hangs: some GETs of the host hang.
    :ivar limit_bytes_s: of the link that all GETs share; None: only each connection is limited.
    """

    name: str
    figure: str
    off: Callable[[], contextlib.AbstractContextManager[object]]
    work: Callable[[Reading], float]
    hangs: bool = False
    limit_bytes_s: int | None = None


def _copy(reading: Reading) -> float:
    return reading.read_through(0, 192 * MIB)


def _stretches(reading: Reading) -> float:
    """Read 1 MiB, skip 7 MiB, and so on."""
    return sum(reading.read_through(at, MIB) for at in range(0, 256 * MIB, 8 * MIB))


def _open_film(reading: Reading) -> float:
    """As a player: the head, a look at what follows (200 ms), then the index."""
    head_s = reading.read(0, 64 * KIB)
    time.sleep(0.2)
    return head_s + reading.read_through(INDEX_AT, 256 * KIB, 64 * KIB)


def _seeks(reading: Reading) -> float:
    """Jump, read 2 MiB, jump again: what lies ahead of the last place is not wanted."""
    places = random.Random(1).sample(range(0, FILE_BYTES - 8 * MIB, 8 * MIB), 24)
    return sum(reading.read_through(at, 2 * MIB) for at in places)


def _random_p99(reading: Reading) -> float:
    """Reads of 128 KiB at random places; the 99th percentile of their times."""
    places = random.Random(2).sample(range(0, FILE_BYTES, 128 * KIB), 400)
    return statistics.quantiles([reading.read(at, 128 * KIB) for at in places], n=100)[98]


def _replaced(owner: object, name: str, value: object) -> Callable[[], Any]:
    return lambda: mock.patch.object(owner, name, value)


CASES = (
    Case(
        "stride",
        "1 of every 8 MiB",
        _replaced(Stride, "skipped", lambda _stride, _gap: None),
        _stretches,
    ),
    Case(
        "index parsing",
        "opening a film",
        _replaced(reader_module, "next_index_range", lambda _head, _size: None),
        _open_film,
    ),
    Case(
        "hedging",
        "p99 of random reads, 1 GET in 100 hangs 3 s",
        _replaced(HedgePolicy, "begin", lambda _policy, _code, _length: None),
        _random_p99,
        hangs=True,
    ),
    Case(
        "cursor abandoned",
        "24 jumps, 2 MiB each, over a link of 20 MiB/s",
        _replaced(ReadPlanner, "_abandon_others", lambda _planner, _cursor: None),
        _seeks,
        limit_bytes_s=20 * MIB,
    ),
    Case(
        "concurrency controller",
        f"a copy; off: {FIXED_WIDTH} GETs at once",
        _replaced(ConcurrencyController, "width", property(lambda _controller: FIXED_WIDTH)),
        _copy,
    ),
)


class Figure(NamedTuple):
    """What one run of a case brought: seconds as the case counts them, and bytes fetched."""

    seconds: float
    fetched_bytes: int


def measure(case: Case, emulator: EmulatorProcess, *, on: bool) -> Figure:
    """Run a case once over a fresh stack."""
    account = load_account({}, config=emulator.config, profile="emulator")
    with tempfile.TemporaryDirectory(prefix="backlotfs-earn-") as folder:
        settings = MountSettings(
            account,
            Path("/unused"),
            cache_dir=Path(folder),
            cache_bytes=0,
            bandwidth_bytes_s=case.limit_bytes_s or 0,
        )
        stack = build_stack(settings, _CLOCK)
        with contextlib.closing(stack), contextlib.nullcontext() if on else case.off():
            stack.catalog.load(Deadline(_PATIENCE_S, _CLOCK))
            seconds = case.work(Reading(stack))
            # What is in flight counts as well: it was sent for, wanted or not.
            time.sleep(0.3)
            return Figure(seconds, stack.transport.hosts.totals().fetched_bytes)


def film(path: Path) -> None:
    """Make a sparse file that begins as an MP4 whose index lies at `INDEX_AT`."""
    head = struct.pack(">I4s16x", 24, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", INDEX_AT - 24)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(FILE_BYTES)


@contextlib.contextmanager
def remote(folder: Path, *, hangs: bool) -> Iterator[EmulatorProcess]:
    """The emulator with the film, as far away as the remote host of the benchmarks."""
    media = folder / "media"
    media.mkdir()
    film(media / "film.mp4")
    plan = folder / "faults.json"
    plan.write_text(json.dumps({"seed": 7, "rules": [*REMOTE, *([HANGS] if hangs else [])]}))
    with emulator_process(folder, ["--media", str(media), "--faults", str(plan)]) as emulator:
        yield emulator


def run(case: Case, rounds: int) -> str:
    """Run a case on and off in turn; its row of the table, by medians."""
    figures: dict[bool, list[Figure]] = {True: [], False: []}
    with (
        tempfile.TemporaryDirectory(prefix="backlotfs-earn-", dir="/dev/shm") as name,
        remote(Path(name), hangs=case.hangs) as emulator,
    ):
        measure(case, emulator, on=True)  # the first run pays for the first touch of memory
        for number in range(rounds):
            for on in (True, False) if number % 2 else (False, True):
                figures[on].append(measure(case, emulator, on=on))
    seconds = {on: statistics.median(one.seconds for one in found) for on, found in figures.items()}
    fetched = {
        on: statistics.median(one.fetched_bytes for one in found) for on, found in figures.items()
    }
    gain = 1 - seconds[True] / seconds[False]
    return (
        f"| {case.name} | {case.figure} | {seconds[True]:.2f} s | {seconds[False]:.2f} s"
        f" | {gain:+.0%} | {fetched[True] / MIB:.0f} MiB | {fetched[False] / MIB:.0f} MiB |"
    )


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs with and without [5]")
    parser.add_argument("--only", help="the name of one strategy, or its beginning")
    wanted = parser.parse_args()
    print("| strategy | work | on | off | gain | fetched, on | fetched, off |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        if case.name.startswith(wanted.only or ""):
            print(run(case, wanted.rounds), flush=True)


if __name__ == "__main__":
    main()
