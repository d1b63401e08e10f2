# SPDX-License-Identifier: Apache-2.0
"""Two rows: what is read to its end goes first; memory is used again only when nobody holds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.cache.memory import Block, BlockCache, BlockKey, BlockPool


def key(number: int, embed_code: str = "E1") -> BlockKey:
    """A block of one version."""
    return BlockKey(embed_code, "v", number)


def filled(count: int) -> tuple[BlockCache, BlockPool]:
    """A cache of blocks 0 … in a pool of as many slots."""
    pool = BlockPool(count * 10, 10)
    cache = BlockCache(pool, keep_consumed=2)
    for number in range(count):
        block = pool.take(10)
        assert block is not None
        cache.put(key(number), block)
    return cache, pool


def test_the_least_recently_used_goes_first() -> None:
    """A look at it is a use, the question whether it is there is not."""
    cache, _ = filled(3)
    assert cache.get(key(0)) is not None
    assert key(1) in cache
    assert cache.evict()
    assert [number for number in range(3) if key(number) in cache] == [0, 2]


def test_what_was_read_to_its_end_goes_before_it() -> None:
    """In the order of its last use."""
    cache, _ = filled(5)
    for number in (3, 4, 2):
        cache.get(key(number), to_its_end=True)
    assert cache.get(key(3)) is not None
    gone: list[int] = []
    while cache.evict():
        gone.append(next(n for n in range(5) if n not in gone and key(n) not in cache))
    assert gone == [4, 2, 3, 0, 1]


def test_a_read_to_the_end_is_a_use_and_the_last() -> None:
    """It is evicted before all others then."""
    cache, _ = filled(3)
    assert cache.get(key(0), to_its_end=True) is not None
    assert cache.get(key(0), to_its_end=True) is not None
    assert cache.get(key(9), to_its_end=True) is None
    assert cache.evict()
    assert [n for n in range(3) if key(n) in cache] == [1, 2]


def test_memory_is_evicted_for_new_blocks() -> None:
    """Of what was read to its end no more is kept than is allowed, even where slots are free."""
    cache, pool = filled(5)
    for number in (3, 4, 2):
        cache.get(key(number), to_its_end=True)
    (evicting,) = cache.allocate([10])
    assert key(3) not in cache
    assert len(cache) == 4
    blocks = cache.allocate([10] * 5)
    assert not len(cache)
    assert [block.pooled for block in blocks] == [True] * 4 + [False]
    assert evicting.pooled
    assert pool.free_slots == 0


@given(st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=60))
def test_no_slot_is_given_twice(steps: list[tuple[int, bool]]) -> None:
    """While somebody refers to a block its bytes stay; in the end every slot is free."""
    pool = BlockPool(40, 10)
    held: dict[int, Block] = {}
    for name, take in steps:
        if not take:
            held.pop(name, None)
        elif name not in held:
            block = pool.take(10)
            assert (block is None) == (len(held) == 4)
            if block is not None:
                block.view[:] = bytes([name]) * 10
                held[name] = block
            del block
        assert all(bytes(one.view) == bytes([n]) * 10 for n, one in held.items())
        assert pool.free_slots == 4 - len(held)
    held.clear()
    assert pool.free_slots == 4
