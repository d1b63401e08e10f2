"""Hashes of embed code and validator, which identify a source's version in a row."""

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

    :ivar embed: 32 bits of the embed code's hash, never 0.
    :ivar word: `embed` in the low half, 32 bits of the version's hash in the high half.
    :ivar seed: 64 other bits of the version's hash, for checksums only.
    """

    embed: int
    word: int
    seed: int

    def checksum(self, number: int, block: bytes | bytearray | memoryview) -> int:
        """The 64-bit checksum (XXH3) of a block's bytes, its version and its number.

        So a block has a wrong checksum under the key of another block.
        """
        return xxh3_64_intdigest(block, seed=(self.seed + number * _SPREAD) & _MASK)


def embed_tag(embed_code: str) -> int:
    """32 bits of the embed code's hash, never 0."""
    return int.from_bytes(_digest(embed_code)[:4], "little") or 1


@lru_cache(maxsize=4096)
def source_tag(embed_code: str, validator: str) -> KeyHash:
    """The `KeyHash` of one version. Thread-safe."""
    embed = embed_tag(embed_code)
    version = _digest(f"{embed_code}\0{validator}")
    word = int.from_bytes(version[:4], "little") << 32 | embed
    return KeyHash(embed, word, int.from_bytes(version[4:12], "little"))


def _digest(text: str) -> bytes:
    # A header may contain lone surrogates; any string must have a hash.
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
