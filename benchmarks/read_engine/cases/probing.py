# SPDX-License-Identifier: Apache-2.0
"""``ffprobe`` of a film whose index lies at its end: what a media library does to each new file."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.mounts import MountProcess
from benchmarks.read_engine.arena import Arena, Sources
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.contestants import (
    OURS,
    RCLONE,
    RCLONE_16X4,
    RCLONE_FULL,
    Contestant,
)
from benchmarks.read_engine.metering import Meter
from benchmarks.read_engine.movie import make_film
from benchmarks.read_engine.sources import GIB, MIB
from benchmarks.read_engine.targets import Target

_FILM = "film.mp4"
FILM = Sources("film", lambda folder: make_film(folder / _FILM), GIB)
#: Six times the origin's latency, and what the program itself may take.
_AT_MOST_S = 6 * 0.03 + 0.3


class Probe(Case):
    """On a new mount."""

    name = "remote-ffprobe"
    title = "remote, `ffprobe` of a 20 GB MP4 with its index at the end"
    sources = FILM
    contestants = (OURS, RCLONE, RCLONE_16X4)
    targets = (
        Target(metric="wall_s", at_most=_AT_MOST_S, unit="s"),
        Target(metric="fetched_mib", at_most=8, unit="MiB"),
    )
    shown = "wall_s"

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """Time, and what it fetched."""
        with arena.mount(contestant) as mount:
            return _numbers(arena, mount)


class ProbeAgain(Case):
    """On a second mount that has the first one's cache."""

    name = "remote-ffprobe-again"
    title = "the same after a new mount, with the disk cache"
    sources = FILM
    contestants = (OURS, RCLONE_FULL)
    targets = (Target(metric="fetched_mib", at_most=0, unit="MiB"),)
    shown = "wall_s"

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """Time and fetches of the second mount."""
        cache = arena.folder / f"{contestant.name}-kept"
        if not cache.exists():
            with arena.mount(contestant, cache=cache) as mount:
                _probe(mount.mountpoint)
                arena.origin.wait_until_quiet()
        with arena.mount(contestant, cache=cache) as mount:
            return _numbers(arena, mount)


def _numbers(arena: Arena, mount: MountProcess) -> dict[str, float]:
    expected = _probe(arena.sources)  # and the program is in memory, from where all start it
    start_s = time.monotonic()
    _probe(arena.sources)
    bare_s = time.monotonic() - start_s
    with Meter(mount, arena.origin) as meter:
        found = _probe(mount.mountpoint)
    if found != expected:
        raise SystemExit("ffprobe finds another film on the mount")
    return {
        "wall_s": meter.wall_s,
        "bare_s": bare_s,
        "fetched_mib": meter.fetched_bytes / MIB,
        "requests": len(meter.answers),
    }


def _probe(folder: Path) -> str:
    command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", _FILM]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


CASES: tuple[Case, ...] = (Probe(), ProbeAgain())
