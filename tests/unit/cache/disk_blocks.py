# SPDX-License-Identifier: Apache-2.0
"""Disk tiers of small blocks, whose bytes prove whose they are."""

from __future__ import annotations

from contextlib import closing
from hashlib import shake_128
from pathlib import Path
from typing import Any

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import BlockKey
from backlotfs.concurrency.clock import Clock
from tests.fakes.clocks import ManualClock

#: A page, so that slots and what the file system counts agree.
BLOCK = 4096
#: What a tier takes besides its slots, with room to spare: few slots are asked for in tests.
OVERHEAD = 80 * 1024


def key(number: int = 0, embed_code: str = "E1", validator: str = '"v1"/9') -> BlockKey:
    """A block's name."""
    return BlockKey(embed_code, validator, number)


def block_of(wanted: BlockKey, length: int = BLOCK) -> bytes:
    """The bytes of that block and of no other."""
    return shake_128(repr(tuple(wanted)).encode()).digest(length)


def budget_for(slots: int) -> int:
    """Bytes that hold ``slots`` blocks or a few more."""
    return OVERHEAD + slots * (BLOCK + 64)


def tier_at(
    folder: Path, slots: int = 32, *, clock: Clock | None = None, **more: Any
) -> closing[DiskTier]:
    """A tier of small blocks, closed at the end of ``with``."""
    options: dict[str, Any] = {"block_bytes": BLOCK, **more}
    return closing(DiskTier(folder, budget_for(slots), clock or ManualClock(), **options))


def keep(tier: DiskTier, *keys: BlockKey) -> None:
    """Put these blocks and wait until they are written, and until complete versions are files."""
    for wanted in keys:
        tier.put(wanted, block_of(wanted))
        assert tier.drain()
    assert tier.drain_files()


def read(tier: DiskTier, wanted: BlockKey) -> bytes | None:
    """What the tier has under this name."""
    buffer = bytearray(BLOCK)
    (length,) = tier.get_many([wanted], [memoryview(buffer)])
    return None if length is None else bytes(buffer[:length])


def keep_whole(tier: DiskTier, blocks: int, embed_code: str = "E1", short: int = 10) -> Pin:
    """Put all blocks of a version, the last one of ``short`` bytes, and wait for its file."""
    version = Pin(embed_code, f'"v1"/{(blocks - 1) * BLOCK + short}')
    for number in range(blocks):
        wanted = key(number, *version)
        tier.put(wanted, block_of(wanted, BLOCK if number < blocks - 1 else short))
        assert tier.drain()
    assert tier.drain_files()
    return version


def bytes_of(version: Pin) -> bytes:
    """All bytes of a version of `keep_whole`."""
    numbers = range(-(-version.size // BLOCK))
    return b"".join(block_of(key(number, *version)) for number in numbers)[: version.size]


def files_in(folder: Path) -> list[Path]:
    """The complete files of a tier."""
    return sorted((folder / "files").iterdir())


def pin(tier: DiskTier, embed_code: str = "E1", validator: str = '"v1"/9') -> None:
    """Pin a version."""
    tier.change_pins(add={Pin(embed_code, validator)})


def unpin(tier: DiskTier, embed_code: str = "E1", validator: str = '"v1"/9') -> None:
    """Unpin a version."""
    tier.change_pins(remove={Pin(embed_code, validator)})


def drop(tier: DiskTier, embed_code: str = "E1", validator: str = '"v1"/9') -> None:
    """Unpin a version and delete its blocks."""
    pins = {Pin(embed_code, validator)}
    tier.change_pins(remove=pins, drop=pins)


def disk_bytes(folder: Path) -> int:
    """The disk space of the files of a tier, as the file system counts it."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


def capacity(tier: DiskTier, folder: Path) -> int:
    """How many blocks it holds, found out by filling it with a source of its own."""
    before = -1
    number = 0
    while tier.cached_bytes > before:
        before = tier.cached_bytes
        keep(tier, *(key(at, "filler") for at in range(number, number + 8)))
        number += 8
    return tier.cached_bytes // BLOCK
