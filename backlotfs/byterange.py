# SPDX-License-Identifier: Apache-2.0
"""Half-open byte ranges and block arithmetic. Pure."""

from __future__ import annotations

from typing import NamedTuple


class ByteRange(NamedTuple):
    """Bytes ``start`` to ``stop`` (exclusive) of an object; empty when ``stop <= start``."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return max(0, self.stop - self.start)

    def clamped(self, size: int) -> ByteRange:
        """The part of the range that lies within an object of ``size`` bytes."""
        start = min(max(0, self.start), size)
        return ByteRange(start, min(max(start, self.stop), size))

    def header(self) -> str:
        """Value of an HTTP ``Range`` header (whose end is inclusive).

        :raises ValueError: the range is empty, which HTTP cannot express.
        """
        if self.stop <= self.start:
            raise ValueError(f"an empty range cannot be asked for: {self.start}-{self.stop}")
        return f"bytes={self.start}-{self.stop - 1}"


def block_span(wanted: ByteRange, block_bytes: int) -> range:
    """Indices of the blocks that hold ``wanted``; an empty range for an empty request."""
    if wanted.stop <= wanted.start:
        return range(0)
    return range(wanted.start // block_bytes, (wanted.stop - 1) // block_bytes + 1)


def block_range(index: int, block_bytes: int, size: int) -> ByteRange:
    """The bytes of block ``index`` in an object of ``size`` bytes; the last block may be short."""
    return ByteRange(index * block_bytes, (index + 1) * block_bytes).clamped(size)
