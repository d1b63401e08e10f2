"""Bytes by arithmetic: byte = f(seed, offset), so that 10 TB take no disk and every byte is known.

A seed gives 64 KiB of noise. Chunk ``k`` of an object is that noise rotated by an amount that
depends on ``k``, with ``k`` written over the first 8 bytes of each 4 KiB page: no two pages of an
object are equal, and a page served from the wrong offset or the wrong asset shows.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache

CHUNK_BYTES = 64 * 1024
_PAGE_BYTES = 4096
_STAMP = struct.Struct(">Q")
_STRIDE = 40_503  # odd, so that the rotation visits every value before it repeats


@lru_cache(maxsize=64)  # 128 KiB each; more would only matter to a reader of 64 assets at once
def _noise(seed: int) -> bytes:
    """The noise of ``seed``, twice in a row, so that every rotation is one slice."""
    once = hashlib.shake_128(b"backlot emulator %d" % seed).digest(CHUNK_BYTES)
    return once + once


def seed_of(identity: str) -> int:
    """A seed that depends on ``identity`` alone."""
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def synthetic_bytes(seed: int, offset: int, length: int) -> bytes:
    """``length`` bytes from ``offset`` of the endless object of ``seed``. Pure.

    :raises ValueError: for a negative offset.
    """
    if offset < 0:
        raise ValueError(f"an offset is not negative: {offset}")
    if length <= 0:
        return b""
    noise = memoryview(_noise(seed))
    first, last = offset // CHUNK_BYTES, (offset + length - 1) // CHUNK_BYTES
    base = first * CHUNK_BYTES
    out = bytearray((last - first + 1) * CHUNK_BYTES)
    for index in range(first, last + 1):
        at = index * CHUNK_BYTES - base
        turn = index * _STRIDE % CHUNK_BYTES
        out[at : at + CHUNK_BYTES] = noise[turn : turn + CHUNK_BYTES]
        for page in range(at, at + CHUNK_BYTES, _PAGE_BYTES):
            _STAMP.pack_into(out, page, index)
    start = offset - base
    return bytes(memoryview(out)[start : start + length])


@dataclass(frozen=True, slots=True)
class SyntheticContent:
    """An object of any size whose bytes are computed when they are asked for.

    :ivar seed: which bytes; two assets with one seed and size are true duplicates.
    :ivar size: length in bytes.
    :ivar last_modified: seconds since the epoch.
    """

    seed: int
    size: int
    last_modified: int = 1_356_998_400  # 2013-01-01, so that two runs agree

    @property
    def etag(self) -> str:
        """A validator that follows from everything that makes the version."""
        identity = f"{self.seed}:{self.size}:{self.last_modified}"
        return f'"{hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()}-1"'

    @property
    def file(self) -> None:
        """No file."""
        return

    def read(self, offset: int, length: int) -> bytes:
        """The bytes, computed; hundreds of MB/s."""
        return synthetic_bytes(self.seed, offset, min(length, self.size - offset))

    def open(self) -> SyntheticContent:
        """Itself: it never changes."""
        return self

    def close(self) -> None:
        """Nothing to give up."""
