# SPDX-License-Identifier: Apache-2.0
"""Many threads at one disk tier that evicts all the time."""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S
from tests.unit.cache.disk_blocks import (
    BLOCK,
    block_of,
    budget_for,
    bytes_of,
    disk_bytes,
    drop,
    key,
    pin,
    read,
    unpin,
)


@pytest.fixture(autouse=True)
def quick_switches() -> Iterator[None]:
    """Threads change places between nearly any two steps."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def steps(least: int, is_seen: Callable[[], bool]) -> Iterator[int]:
    """So many steps, and on until what a busy machine delays was seen; at most for a while."""
    until_s = time.monotonic() + PATIENCE_S
    for step in itertools.count():
        if step >= least and (is_seen() or time.monotonic() > until_s):
            return
        yield step


def test_threads_get_right_bytes_or_none(tmp_path: Path) -> None:
    """Readers, writers, pins and discards at once: no wrong byte, no error, no false damage."""
    with closing(
        DiskTier(tmp_path / "t", budget_for(24), ManualClock(), block_bytes=BLOCK)
    ) as tier:
        start = threading.Barrier(8)
        found: list[int] = []

        def work(seed: int) -> None:
            dice = random.Random(seed)
            start.wait(10)
            for step in steps(400, lambda: len(found) > 100):
                wanted = key(dice.randrange(20), dice.choice(["E1", "E2"]))
                got = read(tier, wanted)
                assert got in (None, block_of(wanted))
                if got is None:
                    tier.put(wanted, block_of(wanted))
                else:
                    found.append(seed)
                if step % 50 == seed:
                    drop(tier, "E2")
                if step % 60 == seed:
                    pin(tier)
                    unpin(tier)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert len(found) > 100
        assert tier.counts.damaged == 0
        assert disk_bytes(tmp_path / "t") <= tier.budget_bytes
        assert tier.drain()
    with closing(
        DiskTier(tmp_path / "t", budget_for(24), ManualClock(), block_bytes=BLOCK)
    ) as tier:
        there = [number for number in range(20) if read(tier, key(number)) is not None]
        there += [number for number in range(20) if read(tier, key(number, "E2")) is not None]
        assert len(there) * BLOCK == tier.cached_bytes


def test_threads_at_complete_versions(tmp_path: Path) -> None:
    """Files are made, opened, read, evicted and dropped at once: right bytes, no false damage."""
    versions = [Pin(f"E{number}", f'"v1"/{3 * BLOCK - 9}') for number in range(8)]
    with closing(
        DiskTier(tmp_path / "t", budget_for(32), ManualClock(), block_bytes=BLOCK)
    ) as tier:
        start = threading.Barrier(6)
        opened: list[int] = []

        def work(seed: int) -> None:
            dice = random.Random(seed)
            start.wait(10)
            for step in steps(150, lambda: bool(opened)):
                version = dice.choice(versions)
                whole = bytes_of(version)
                for number in range(3):
                    expected = whole[number * BLOCK : (number + 1) * BLOCK]
                    got = read(tier, key(number, *version))
                    assert got in (None, expected)
                    if got is None:
                        tier.put(key(number, *version), expected, wait_s=1.0)
                file = tier.open_complete(*version)
                if file is not None:
                    opened.append(seed)
                    assert os.pread(file, 10**6, 0) == whole
                    os.close(file)
                if step % 40 == seed:
                    tier.change_pins(remove={version}, drop={version})
                assert 0 <= tier.cached_bytes <= tier.budget_bytes

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
        assert tier.drain_files()
        assert tier.counts.damaged == 0
        assert opened
        assert disk_bytes(tmp_path / "t") <= tier.budget_bytes


def test_closing_under_readers_harms_none(tmp_path: Path) -> None:
    """Who reads is answered; descriptors are closed after the last reader, and misses follow."""
    with closing(
        DiskTier(tmp_path / "t", budget_for(24), ManualClock(), block_bytes=BLOCK)
    ) as tier:
        for number in range(20):
            tier.put(key(number), block_of(key(number)))
        tier.drain()
        going = threading.Barrier(5)

        def work(seed: int) -> None:
            dice = random.Random(seed)
            going.wait(10)
            missed = 0
            while missed < 20:
                wanted = key(dice.randrange(20))
                got = read(tier, wanted)
                assert got in (None, block_of(wanted))
                missed += got is None
                tier.put(key(dice.randrange(20), "E2"), block_of(wanted))

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(work, seed) for seed in range(4)]
            going.wait(10)
            tier.close()
            for reader in readers:
                reader.result(30)
        assert tier.counts.damaged == 0
