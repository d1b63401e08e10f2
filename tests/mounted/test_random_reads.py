# SPDX-License-Identifier: Apache-2.0
"""Reads at any place, in any order."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.expected_bytes import assert_pread, len_of, origin_bytes
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

ASSET = video("random.mxf", 24 * MIB + 777)
HUGE = video("huge.mxf", 100 * 1024**3)
UNREAD = video("unread.mxf", 64 * MIB)
ASSETS = [ASSET, HUGE, UNREAD]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_reads_give_the_origins_bytes(library_mount: Mount, seed: int) -> None:
    """300 reads of random place and length, some past the end: each equals the origin's slice."""
    chance = random.Random(seed)
    descriptor = os.open(library_mount.file_of(ASSET), os.O_RDONLY)
    try:
        for _ in range(300):
            offset = chance.randrange(len_of(ASSET) + 4096)
            length = chance.choice([1, 100, 4096, 65_536, 300_001])
            assert_pread(descriptor, ASSET, offset, length)
    finally:
        os.close(descriptor)


def test_places_beyond_four_gigabytes_are_reached(library_mount: Mount) -> None:
    """Offsets need more than 32 bits: 100 GB, its last byte included, without reading the rest."""
    descriptor = os.open(library_mount.file_of(HUGE), os.O_RDONLY)
    try:
        for offset in (2**31 - 10, 2**32 - 10, 99 * 1024**3, len_of(HUGE) - 5000):
            assert_pread(descriptor, HUGE, offset, 5000)
    finally:
        os.close(descriptor)


def test_a_random_reader_does_not_pull_the_whole_file(library_mount: Mount) -> None:
    """20 scattered reads of 4 KiB cost a fraction of the 64 MiB: no read-ahead without a stream."""
    descriptor = os.open(library_mount.file_of(UNREAD), os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    chance = random.Random(9)
    try:
        for place in chance.sample(range(1, 32), 20):
            assert_pread(descriptor, UNREAD, place * 2 * MIB, 4 * KIB)
    finally:
        os.close(descriptor)
    entries = ended_requests(library_mount.emulator, route="source", embed_code=UNREAD.embed_code)
    assert sum(entry.bytes_sent for entry in entries) <= 20 * MIB // 4


#: Compares a file with mappings of it, touched back to front and found in; arguments: both paths.
MAPPED = """
import mmap, sys
with open(sys.argv[1], "rb") as file, open(sys.argv[2], "rb") as expected:
    wanted = expected.read()
    for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
        with mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as mapped:
            assert len(mapped) == len(wanted)
            for start in range(len(wanted) - 10_000, 0, -3 * 1024**2):
                assert mapped[start : start + 9000] == wanted[start : start + 9000], start
            there = 5 * 1024**2 + 3
            assert mapped.find(wanted[there : there + 64]) == there
"""


def test_mmap_shows_the_origins_bytes(library_mount: Mount, tmp_path: Path) -> None:
    """A private and a shared mapping, in a process of its own.

    A page fault keeps the interpreter lock, and the emulator in this process could not answer it.
    """
    expected = tmp_path / "expected"
    expected.write_bytes(origin_bytes(ASSET, 0, len_of(ASSET)))
    file = library_mount.file_of(ASSET)
    subprocess.run([sys.executable, "-c", MAPPED, file, expected], check=True, timeout=120)
