"""What stands in a row for the embed code and the validator of a source's version."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

_MASK = 2**64 - 1
#: Spreads block numbers over the seeds (2**64 divided by the golden ratio, odd).
_SPREAD = 0x9E3779B97F4A7C15


class KeyHash(NamedTuple):
    """One version of one source.

    :ivar embed: 32 bits of the embed code, never 0.
    :ivar word: those in the low half, 32 bits of the version in the high half.
    :ivar seed: 64 further bits of the version, for checksums only.
    """

    embed: int
    word: int
    seed: int

    def checksum(self, number: int, block: bytes | bytearray | memoryview) -> int:
        """Of a block's bytes and of whose and which block it is: 64 bits, XXH3.

        A block that is found under another's name does not verify.
        """
        return xxh3_64_intdigest(block, seed=(self.seed + number * _SPREAD) & _MASK)


def embed_tag(embed_code: str) -> int:
    """32 bits of the embed code, never 0."""
    return int.from_bytes(_digest(embed_code)[:4], "little") or 1


@lru_cache(maxsize=4096)
def source_tag(embed_code: str, validator: str) -> KeyHash:
    """The tag of one version; any thread may call it."""
    embed = embed_tag(embed_code)
    version = _digest(f"{embed_code}\0{validator}")
    word = int.from_bytes(version[:4], "little") << 32 | embed
    return KeyHash(embed, word, int.from_bytes(version[4:12], "little"))


def _digest(text: str) -> bytes:
    # Header texts may hold what no encoding of them did: any string has a tag.
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
