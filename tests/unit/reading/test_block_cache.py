"""Blocks in memory, under one budget."""

from __future__ import annotations

from backlotfs.reading.block_cache import MemoryBlockCache
from backlotfs.reading.block_key import BlockKey


def key(number: int, embed_code: str = "E1", validator: str = "v1") -> BlockKey:
    """Of one block."""
    return BlockKey(embed_code, validator, number)


def test_least_recently_used_goes_first() -> None:
    """A block that was read again stays; looking whether it is there is no use."""
    cache = MemoryBlockCache(30)
    for number in range(3):
        cache.put(key(number), b"x" * 10)
    assert cache.get(key(0)) == b"x" * 10
    assert key(1) in cache
    cache.put(key(3), b"x" * 10)
    assert [number for number in range(4) if key(number) in cache] == [0, 2, 3]
    assert cache.get(key(1)) is None
    assert cache.held_bytes == cache.budget_bytes == 30


def test_a_block_larger_than_the_budget_is_not_kept() -> None:
    """And nothing else is thrown out for it."""
    cache = MemoryBlockCache(10)
    cache.put(key(0), b"x" * 10)
    cache.put(key(1), b"x" * 11)
    assert key(0) in cache
    assert key(1) not in cache


def test_versions_do_not_mix() -> None:
    """The bytes of a replaced source are not found under the new version's key."""
    cache = MemoryBlockCache(100)
    cache.put(key(0), b"old")
    assert cache.get(key(0, validator="v2")) is None
    assert cache.get(key(0, embed_code="E2")) is None


def test_discard_source() -> None:
    """All versions of one source go, and their bytes are free again."""
    cache = MemoryBlockCache(100)
    for kept in (key(0), key(1, validator="v2"), key(0, "E2")):
        cache.put(kept, b"x" * 10)
    cache.discard_source("E1")
    assert cache.held_bytes == 10
    assert key(0, "E2") in cache


def test_no_budget() -> None:
    """Nothing is kept, and nothing breaks."""
    cache = MemoryBlockCache(0)
    cache.put(key(0), b"x")
    assert cache.get(key(0)) is None
