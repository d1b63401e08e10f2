# SPDX-License-Identifier: Apache-2.0
"""Many readers at once, in threads and in processes."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import (
    assert_pread,
    assert_same_bytes,
    len_of,
    origin_bytes,
)
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = [pytest.mark.mounted, pytest.mark.both_bindings]

SHARED = video("shared.mxf", 12 * MIB + 99)
MANY = [video(f"reel-{number}.mov", 2 * MIB + number) for number in range(12)]
TOUCHED = video("touched.mxf", 8 * MIB)
ASSETS = [SHARED, *MANY]
#: A limit far off, with which nothing is hedged: bytes are counted here.
OPTIONS = ("--bwlimit", "10G")


def test_threads_share_a_descriptor(library_mount: Mount) -> None:
    """16 threads, one descriptor, 40 random reads each: nobody gets another's bytes."""
    descriptor = os.open(library_mount.file_of(SHARED), os.O_RDONLY)

    def read_about(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            assert_pread(descriptor, SHARED, chance.randrange(len_of(SHARED)), 70_001)

    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(read_about, range(16)))
    finally:
        os.close(descriptor)


def test_threads_read_different_files(library_mount: Mount) -> None:
    """12 files from front to back at the same time: each holds its own bytes."""
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda a: assert_same_bytes(library_mount.file_of(a), a), MANY))


def test_processes_read_one_file(serve: Serve, mounted: MountIt) -> None:
    """8 processes hash one file that nobody has read: one sum, and each byte fetched once."""
    emulator = serve(TOUCHED)  # alone: no part of it was fetched as the next file of a walk
    path = mounted(emulator, *OPTIONS).file_of(TOUCHED)
    readers = [
        subprocess.Popen(["sha256sum", path], stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    sums = {reader.communicate(timeout=60)[0].split()[0] for reader in readers}
    assert sums == {hashlib.sha256(origin_bytes(TOUCHED)).hexdigest()}
    entries = ended_requests(emulator, route="source", embed_code=TOUCHED.embed_code)
    assert sum(entry.bytes_sent for entry in entries) == len_of(TOUCHED) + 1
