# SPDX-License-Identifier: Apache-2.0
"""The files that are read, on tmpfs: a disk would be the slowest part of every measurement."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path

MIB = 2**20
GIB = 2**30
#: Free memory that has to stay beside the files: mounts, copies, and whoever else is there.
_SPARE_BYTES = 6 * GIB


def random_file(path: Path, size: int) -> None:
    """Bytes that no two places share."""
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))


def stamped_file(path: Path, size: int) -> None:
    """Zeros, but each MiB begins with its place and the file's name: 4 KiB of memory for each."""
    name = path.name.encode()
    with path.open("wb") as file:
        file.truncate(size)
        for start in range(0, size, MIB):
            os.pwrite(file.fileno(), stamp(name, start), start)


def stamp(name: bytes, start: int) -> bytes:
    """What a MiB of the file ``name`` begins with."""
    return struct.pack(">Q", start) + name[:32]


def stamped_folder(folder: Path, sizes: Mapping[str, int]) -> None:
    """Stamped files by name and size."""
    for name, size in sizes.items():
        stamped_file(folder / name, size)


def require_memory(needed_bytes: int) -> None:
    """Go on only where the machine has room.

    :raises SystemExit: it has not; swapping would be measured.
    """
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(line for line in lines if line.startswith("MemAvailable:"))
    free_bytes = int(available.split()[1]) * 1024
    if free_bytes < needed_bytes + _SPARE_BYTES:
        wanted = (needed_bytes + _SPARE_BYTES) / GIB
        raise SystemExit(f"{free_bytes / GIB:.1f} GiB of memory are free; {wanted:.1f} are needed")


def touch_memory(size_bytes: int) -> None:
    """Use so much memory once, and give it back.

    In a virtual machine the first touch of a page makes the host find one, which costs far more
    than a copy into it: whoever is measured first would pay for all.
    """
    with mmap.mmap(-1, size_bytes) as memory:
        for place in range(0, size_bytes, mmap.PAGESIZE):
            memory[place] = 1
