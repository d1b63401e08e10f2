# SPDX-License-Identifier: Apache-2.0
"""Hashes of embed code and validator. They identify a version of a source in a row."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

_MASK = 2**64 - 1
#: Spreads block numbers over the seeds (2**64 divided by the golden ratio, odd).
_SPREAD = 0x9E3779B97F4A7C15


class KeyHash(NamedTuple):
    """The hashes of one version of one source.

    :ivar word: 64 bits of the version's hash, never 0.
    :ivar seed: 64 other bits of the hash, for checksums only.
    """

    word: int
    seed: int

    def checksum(self, number: int, block: bytes | bytearray | memoryview) -> int:
        """The 64-bit checksum (XXH3) of a block's bytes, its version and its number.

        So the checksum is wrong if a block is read by the key of another block.
        """
        return xxh3_64_intdigest(block, seed=(self.seed + number * _SPREAD) & _MASK)


@lru_cache(maxsize=4096)
def source_tag(embed_code: str, validator: str) -> KeyHash:
    """The `KeyHash` of one version. Thread-safe."""
    # A header may contain lone surrogates; any string must have a hash.
    text = f"{embed_code}\0{validator}".encode("utf-8", "surrogatepass")
    digest = blake2b(text, digest_size=16).digest()
    return KeyHash(int.from_bytes(digest[:8], "little") or 1, int.from_bytes(digest[8:], "little"))
