"""What the block store knows of a disk tier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from backlotfs.cache.block_key import BlockKey
from backlotfs.errors import CacheUnusable

T = TypeVar("T")


class DiskTier(Protocol):
    """What is kept beyond memory. Any thread may call it; none of it raises."""

    def missing(self, keys: Sequence[BlockKey]) -> list[BlockKey]:
        """Those of them that are certainly not there, in their order."""

    def get(self, keys: Sequence[BlockKey], views: Sequence[memoryview]) -> list[bool]:
        """Fill each view with its block. False: it is not there (any more), or not as it was."""

    def put(self, key: BlockKey, view: memoryview, owner: object) -> None:
        """Keep the block, soon, if there is room; ``owner`` is referred to until then."""


class NoDisk:
    """In the place of a disk tier where there is none."""

    def missing(self, keys: Sequence[BlockKey]) -> list[BlockKey]:
        """All."""
        return list(keys)

    def get(self, keys: Sequence[BlockKey], views: Sequence[memoryview]) -> list[bool]:  # noqa: ARG002  # as DiskTier
        """None of them."""
        return [False] * len(keys)

    def put(self, key: BlockKey, view: memoryview, owner: object) -> None:
        """Nothing."""


def required(tier: T | None) -> T:
    """The tier, for who cannot do without. :raises CacheUnusable: there is none."""
    if tier is None:
        raise CacheUnusable(
            "this mount keeps no blocks on disk: give it --cache-size, and a --cache-dir that "
            "no other mount uses"
        )
    return tier
