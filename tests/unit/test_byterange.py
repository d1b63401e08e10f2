# SPDX-License-Identifier: Apache-2.0
"""Half-open ranges and block arithmetic."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange, block_range, block_span


@pytest.mark.parametrize(
    ("asked", "size", "kept"),
    [
        (ByteRange(0, 10), 10, ByteRange(0, 10)),
        (ByteRange(5, 20), 10, ByteRange(5, 10)),
        (ByteRange(10, 20), 10, ByteRange(10, 10)),
        (ByteRange(30, 20), 10, ByteRange(10, 10)),
        (ByteRange(-5, 3), 10, ByteRange(0, 3)),
        (ByteRange(0, 1), 0, ByteRange(0, 0)),
    ],
)
def test_clamped(asked: ByteRange, size: int, kept: ByteRange) -> None:
    """Only what lies inside the object is left."""
    assert asked.clamped(size) == kept
    assert asked.clamped(size).length == max(0, kept.stop - kept.start)


def test_header_is_inclusive() -> None:
    """HTTP counts the last byte in, and cannot ask for nothing."""
    assert ByteRange(0, 1).header() == "bytes=0-0"
    assert ByteRange(100, 200).header() == "bytes=100-199"
    for empty in (ByteRange(3, 3), ByteRange(4, 3)):
        with pytest.raises(ValueError, match="empty range"):
            empty.header()


def test_an_empty_range_touches_no_block() -> None:
    """Nothing asked, nothing loaded."""
    assert list(block_span(ByteRange(7, 7), 4)) == []
    assert ByteRange(8, 3).length == 0


@given(
    size=st.integers(1, 5000),
    block_bytes=st.integers(1, 700),
    ends=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
)
def test_blocks_cover_exactly(size: int, block_bytes: int, ends: tuple[int, int]) -> None:
    """The blocks of a range hold it, touch each other, and none of them is superfluous."""
    wanted = ByteRange(min(ends), max(ends)).clamped(size)
    held = [block_range(index, block_bytes, size) for index in block_span(wanted, block_bytes)]
    if not wanted.length:
        assert not held
        return
    assert held[0].start <= wanted.start < held[0].stop
    assert held[-1].start < wanted.stop <= held[-1].stop
    assert all(one.stop == two.start for one, two in pairwise(held))
    assert all(0 < block.length <= block_bytes for block in held)
