# SPDX-License-Identifier: Apache-2.0
"""How much of a source is in memory or on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.cache.cached_bytes import CachedBytes
from backlotfs.cache.memory import BlockCache, BlockKey, BlockPool
from backlotfs.source.version import SourceVersion
from tests.unit.cache.disk_blocks import BLOCK, block_of, tier_at

#: Three blocks, the last of 10 bytes.
SOURCE = SourceVersion("E1", 2 * BLOCK + 10, '"v1"', None)
OTHER = SourceVersion("E1", 2 * BLOCK + 10, '"v2"', None)


def key(number: int) -> BlockKey:
    """A block of it."""
    return BlockKey("E1", SOURCE.validator, number)


def cache_of(*numbers: int) -> BlockCache:
    """Memory that holds these blocks, the first of them read to its end."""
    pool = BlockPool(10 * BLOCK, BLOCK)
    cache = BlockCache(pool, keep_consumed=2)
    for number in numbers:
        block = pool.take(BLOCK)
        assert block is not None
        cache.put(key(number), block)
    if numbers:
        cache.get(key(numbers[0]), to_its_end=True)
    return cache


@pytest.mark.parametrize(
    ("memory", "disk", "expected"),
    [
        ((), (), 0),
        ((0,), (), BLOCK),
        ((2,), (), 10),
        ((), (2,), 10),
        ((0, 1), (1,), 2 * BLOCK),
        ((2, 0), (2, 1), SOURCE.size),
        ((), (0, 1, 2), SOURCE.size),
    ],
)
def test_bytes(
    tmp_path: Path, memory: tuple[int, ...], disk: tuple[int, ...], expected: int
) -> None:
    """What is in both counts once, the last block as short as it is; another version has none."""
    with tier_at(tmp_path / "t") as tier:
        for number in disk:
            tier.put(key(number), block_of(key(number), BLOCK if number < 2 else 10))
        tier.drain()
        held = CachedBytes(cache_of(*memory), tier)
        assert held.bytes_of(SOURCE) == expected
        assert held.bytes_of(OTHER) == 0
    if not disk:
        assert CachedBytes(cache_of(*memory), None).bytes_of(SOURCE) == expected


def test_a_sample(tmp_path: Path) -> None:
    """Pieces of cached blocks, wherever these are; never more than asked for."""
    with tier_at(tmp_path / "t") as tier:
        for number in (1, 2):
            tier.put(key(number), block_of(key(number), BLOCK if number < 2 else 10))
        tier.drain()
        cache = cache_of(0)
        block = cache.get(key(0))
        assert block is not None
        block.view[:] = block_of(key(0), BLOCK)
        held = CachedBytes(cache, tier)
        sample = held.sample(SOURCE, 3, 100)
        assert sorted(place.start // BLOCK for place in sample) == [0, 1, 2]
        for place, piece in sample.items():
            number, skipped = divmod(place.start, BLOCK)
            whole = block_of(key(number), BLOCK if number < 2 else 10)
            assert piece == whole[skipped : skipped + place.length]
            assert len(piece) == place.length == (100 if number < 2 else 10)
        assert len(held.sample(SOURCE, 1, 100)) == 1
        assert held.sample(OTHER, 3, 100) == {}
    assert CachedBytes(cache_of(), None).sample(SOURCE, 3, 100) == {}


def test_an_empty_source(tmp_path: Path) -> None:
    """Has nothing to hold."""
    empty = SourceVersion("E1", 0, '"v1"', None)
    with tier_at(tmp_path / "t") as tier:
        assert CachedBytes(cache_of(), tier).bytes_of(empty) == 0
