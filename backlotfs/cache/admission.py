"""Which blocks are worth their place on the disk, between the block store and the disk tier.

Where the user has given the tier a size, all are. Else not those that come as fast as a disk would
bring them: writing them costs as much time as it could ever save (measured: a copy at 650 MB/s
falls to 400). And never those of a version that nothing but its size tells from the next: after a
restart, nobody could.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from backlotfs.cache.block_key import BlockKey
from backlotfs.concurrency.clock import Clock
from backlotfs.source.host_stats import HostStats

#: What a disk is taken to bring. A line that has lately brought more needs none.
DISK_BYTES_S = 200e6
#: A line whose first byte comes within this, and …
NEAR_S = 0.003
#: … whose connections bring this much each, is no further away than a disk.
NEAR_BYTES_S = 250e6
#: Who has given a size wants every block, and waits so long for a disk slower than the line.
PATIENCE_S = 1.0
#: How long an opinion of a line holds, in seconds.
DECISION_TTL_S = 0.05
#: Opinions of so many sources.
REMEMBERED = 256


class Tier(Protocol):
    """`backlotfs.cache.disk.tier.DiskTier`."""

    def missing(self, keys: Sequence[BlockKey]) -> list[BlockKey]:
        """Those that are not there."""

    def get_many(self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]) -> list[int | None]:
        """Fill the buffers; None: it is not there."""

    def put(
        self, key: BlockKey, block: memoryview, owner: object = None, *, wait_s: float = 0.0
    ) -> bool:
        """Keep it, soon; where too many wait for the disk, wait for room as long."""


class DiskAdmission:
    """What the block store asks and tells of blocks on disk. Any thread may call it."""

    __slots__ = ("_clock", "_figures", "_opinions", "_tier")

    def __init__(
        self, tier: Tier, clock: Clock, figures: Callable[[str], HostStats | None] | None
    ) -> None:
        """``figures``: what is known of the line to a source; None: every block is kept."""
        self._tier = tier
        self._clock = clock
        self._figures = figures
        self._opinions: dict[str, tuple[float, bool]] = {}

    def missing(self, keys: Sequence[BlockKey]) -> list[BlockKey]:
        """Those of them that are certainly not there, in their order."""
        return self._tier.missing(keys)

    def get(self, keys: Sequence[BlockKey], views: Sequence[memoryview]) -> list[bool]:
        """Fill each view with its block. False: it is not there (any more), or not as it was."""
        return [length is not None for length in self._tier.get_many(keys, views)]

    def put(self, key: BlockKey, view: memoryview, owner: object) -> None:
        """Keep the block, soon, if it is worth it; ``owner`` is referred to until then."""
        if key.validator.startswith("/"):  # neither ETag nor Last-Modified
            return
        if self._figures is None:
            self._tier.put(key, view, owner, wait_s=PATIENCE_S)
        elif self._worth(key.embed_code, self._figures):
            self._tier.put(key, view, owner)

    def _worth(self, embed_code: str, figures: Callable[[str], HostStats | None]) -> bool:
        now_s = self._clock.monotonic()
        until_s, worth = self._opinions.get(embed_code, (-1.0, False))
        if now_s < until_s:
            return worth
        line = figures(embed_code)
        worth = line is None or not (
            line.total_bytes_per_s > DISK_BYTES_S
            or (line.latency_s < NEAR_S and line.connection_bytes_per_s > NEAR_BYTES_S)
        )
        if len(self._opinions) >= REMEMBERED:
            self._opinions.clear()
        self._opinions[embed_code] = (now_s + DECISION_TTL_S, worth)
        return worth
