# SPDX-License-Identifier: Apache-2.0
"""Memory with hundreds of open files, of which many are read."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks.read_engine.arena import Arena, Sources
from benchmarks.read_engine.cases.case import Case
from benchmarks.read_engine.contestants import OURS, RCLONE, Contestant
from benchmarks.read_engine.metering import Meter
from benchmarks.read_engine.sources import GIB, MIB, stamp, stamped_folder
from benchmarks.read_engine.targets import Target

_READ = {f"read-{number:03d}.mov": 256 * MIB for number in range(64)}
_CACHED = {f"held-{number:03d}.mov": 4 * MIB for number in range(436)}
_READ_FOR_S = 8.0


class OpenFiles(Case):
    """500 open files, each read at its head; 64 of them are then read on and on."""

    name = "remote-memory"
    title = "remote, 500 open files, 64 readers"
    sources = Sources("many", lambda folder: stamped_folder(folder, _READ | _CACHED), 4 * GIB)
    contestants = (OURS, RCLONE)
    targets = (
        Target(metric="rate_mb_s", at_least=1, of=(RCLONE.name,)),
        Target(metric="pss_mb", at_most=400, unit="MB"),
    )
    shown = "pss_mb"

    def run(self, arena: Arena, contestant: Contestant) -> dict[str, float]:
        """Eight seconds of reading."""
        with arena.mount(contestant) as mount, ExitStack() as stack:
            files = {
                name: stack.enter_context((mount.mountpoint / name).open("rb", buffering=0))
                for name in _READ | _CACHED
            }
            with Meter(mount, arena.origin) as meter, ThreadPoolExecutor(len(_READ)) as threads:
                list(threads.map(lambda name: os.pread(files[name].fileno(), 4096, 0), files))
                until_s = time.monotonic() + _READ_FOR_S
                lengths = list(
                    threads.map(lambda name: _read_on(files[name].fileno(), name, until_s), _READ)
                )
                stack.close()
            return meter.values(sum(lengths))


def _read_on(file: int, name: str, until_s: float) -> int:
    """Bytes read, a MiB at a time, until then."""
    length, buffer = 0, bytearray(MIB)
    while time.monotonic() < until_s and length < _READ[name]:
        os.preadv(file, [buffer], length)
        if not buffer.startswith(stamp(name.encode(), length)):
            raise SystemExit(f"{name} has wrong bytes at {length}")
        length += MIB
    return length


CASES: tuple[Case, ...] = (OpenFiles(),)
