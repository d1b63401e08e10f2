# SPDX-License-Identifier: Apache-2.0
"""How long a mount waits for a large disk cache: ``python -m benchmarks.cache_open [--work DIR]``.

Blocks of 4 KiB stand for those of 64 KiB: what is read at the start are rows and heads, and their
number counts. Complete files of one block each stand for larger ones: at the start one row each is
read. Opened by a process of its own each time, as a mount does it, and again after one that was
killed while it held the tier.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import BlockKey
from backlotfs.concurrency.clock import SystemClock
from benchmarks.report import met, spread, table, write_section

BLOCKS = 500_000
FILES = 20_000
_BLOCK_BYTES = 4096
_SPARE_BYTES = 600 * 1024 * 1024
_SOURCES = 50
_ROUNDS = 5
_TARGET_MS = 100


def main() -> None:
    """Fill a tier, open it again and again, write the section of the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_open", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("/dev/shm"), help="on tmpfs")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--die", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open is not None:
        _open_once(options.open, die=options.die)
        return
    folder = options.work / f"backlotfs-cache-open-{os.getpid()}"
    try:
        _fill(folder)
        closed = [_opened_ms(folder) for _ in range(_ROUNDS)]
        killed = [_opened_ms(folder, after_a_kill=True) for _ in range(_ROUNDS)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = [
        [
            name,
            f"≤ {_TARGET_MS} ms",
            spread(values, 0),
            met(statistics.median(values) <= _TARGET_MS),
        ]
        for name, values in (("closed well", closed), ("killed", killed))
    ]
    text = table(("the mount before it was", "target", "ms to open it", ""), rows)
    print(text)
    write_section(
        "cache_open",
        f"{BLOCKS} blocks of {_SOURCES} sources, and {FILES} complete files.\n\n{text}",
    )


def _tier(folder: Path) -> DiskTier:
    budget = BLOCKS * _BLOCK_BYTES + _SPARE_BYTES
    return DiskTier(folder, budget, SystemClock(), block_bytes=_BLOCK_BYTES, queued_blocks=4096)


def _fill(folder: Path) -> None:
    tier = _tier(folder)
    block = memoryview(os.urandom(_BLOCK_BYTES))
    for number in range(BLOCKS):
        tier.put(BlockKey(f"E{number % _SOURCES}", "v", number), block, wait_s=5)
    tier.drain()
    for number in range(FILES):
        version = Pin(f"F{number}", f'"v"/{_BLOCK_BYTES}')
        tier.put(BlockKey(*version, 0), block, wait_s=5)
        if number % 1000 == 999 and not tier.drain_files(600):
            raise SystemExit("the files were not made in time")
    tier.close()


def _opened_ms(folder: Path, *, after_a_kill: bool = False) -> float:
    if after_a_kill:
        _run(folder, "--die")
    return float(_run(folder))


def _run(folder: Path, *more: str) -> str:
    command = [sys.executable, "-m", "benchmarks.cache_open", "--open", str(folder), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(done.stderr)
    return done.stdout


def _open_once(folder: Path, *, die: bool) -> None:
    began_s = time.perf_counter()
    tier = _tier(folder)
    print(round((time.perf_counter() - began_s) * 1000, 1), flush=True)
    if tier.cached_bytes < (BLOCKS + FILES) * _BLOCK_BYTES:
        raise SystemExit(f"only {tier.cached_bytes // _BLOCK_BYTES} blocks were there")
    if die:
        tier.put(BlockKey("killed", "v", os.getpid()), memoryview(bytes(_BLOCK_BYTES)), wait_s=5)
        tier.drain()
        os.kill(os.getpid(), signal.SIGKILL)
    tier.close()


if __name__ == "__main__":
    main()
