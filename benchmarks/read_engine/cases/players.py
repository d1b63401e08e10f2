# SPDX-License-Identifier: Apache-2.0
"""Eight players at once, each jumping about: who has to wait for its picture?"""

from __future__ import annotations

import itertools
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.read_engine.arena import Arena, Sources
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.contestants import OURS, RCLONE, Contestant
from benchmarks.read_engine.metering import Meter
from benchmarks.read_engine.sources import GIB, MIB, stamp, stamped_folder
from benchmarks.read_engine.targets import Target

_PLAYERS = 8
_RATE_BYTES_S = 25e6
_SEEK_EVERY_S = 10.0
#: The first jump of each comes at another moment; each makes two.
_PLAYED_S = 21.0
#: What a player has in hand: it starts to show a second after a jump, and reads that far ahead.
_CUSHION_S = 1.0
_NAMES = [f"show-{number}.mov" for number in range(_PLAYERS)]
_FILE_BYTES = 3 * GIB


class Players(Case):
    """Real time: a byte is late when its moment has come and it has not."""

    name = "remote-players"
    title = "remote, 8 players of 25 MB/s, each seeking every 10 s"
    sources = Sources(
        "shows", lambda folder: stamped_folder(folder, dict.fromkeys(_NAMES, _FILE_BYTES)), GIB
    )
    contestants = (OURS, RCLONE)
    targets = (Target(metric="starved_s", at_most=0.5, unit="s"),)
    shown = "starved_s"

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """The longest that any player waited, after the first second of a jump."""
        with (
            arena.mount(contestant) as mount,
            ThreadPoolExecutor(_PLAYERS) as threads,
            Meter(mount, arena.origin) as meter,
        ):
            paths = [mount.mountpoint / name for name in _NAMES]
            played = list(threads.map(_play, paths, range(_PLAYERS)))
        values = meter.values(sum(length for _, length in played))
        return {
            "starved_s": max(starved for starved, _ in played),
            "fetched_ratio": values["fetched_ratio"],
            "cpu_s_per_gb": values["cpu_s_per_gb"],
            "pss_mb": values["pss_mb"],
        }


def _play(path: Path, number: int) -> tuple[float, int]:
    """Longest starvation in seconds, and bytes played."""
    places = random.Random(number)
    start_s = time.monotonic()
    first_s = _SEEK_EVERY_S * (number + 1) / _PLAYERS
    jumps_s = [at_s for at_s in (0.0, first_s, first_s + _SEEK_EVERY_S) if at_s < _PLAYED_S]
    starved_s, length = 0.0, 0
    with path.open("rb", buffering=0) as file:
        for begin_s, end_s in itertools.pairwise([*jumps_s, _PLAYED_S]):
            place = places.randrange(_FILE_BYTES // MIB - 300) * MIB
            late_s, played = _play_on(
                file.fileno(), path, place, start_s + begin_s, end_s - begin_s
            )
            starved_s, length = max(starved_s, late_s), length + played
    return starved_s, length


def _play_on(file: int, path: Path, place: int, begin_s: float, span_s: float) -> tuple[float, int]:
    """From one jump to the next."""
    starved_s, length = 0.0, 0
    name, buffer = path.name.encode(), bytearray(MIB)
    while length / _RATE_BYTES_S < span_s:
        early_s = begin_s + length / _RATE_BYTES_S - time.monotonic()
        if early_s > 0:
            time.sleep(early_s)
        os.preadv(file, [buffer], place + length)
        if not buffer.startswith(stamp(name, place + length)):
            raise SystemExit(f"{path} has wrong bytes at {place + length}")
        late_s = time.monotonic() - (begin_s + _CUSHION_S + length / _RATE_BYTES_S)
        starved_s = max(starved_s, late_s)
        length += MIB
        if time.monotonic() >= begin_s + span_s:
            break
    return starved_s, length


CASES: tuple[Case, ...] = (Players(),)
