# SPDX-License-Identifier: Apache-2.0
"""The admission policy of the disk cache decides which blocks are written to the disk.

With an explicit cache size every block is admitted. Otherwise blocks of a host that is as fast as a
disk are not written, because writing them costs as much time as it saves (measured: a copy at
650 MB/s falls to 400). Blocks of a version with neither ETag nor Last-Modified are never written:
after a restart they could be taken for blocks of another version of the same size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from backlotfs.cache.memory import BlockKey
from backlotfs.concurrency.clock import Clock
from backlotfs.source.bandwidth import NEAR_S, HostStats

#: The assumed speed of a disk. A host that was faster recently is not cached on disk.
DISK_BYTES_S = 200e6
#: A host is as fast as a disk if it is near and each of its connections has this throughput.
NEAR_BYTES_S = 250e6
#: Longest wait for room in the write queue, with an explicit cache size. After this time
#: the block is not written.
QUEUE_WAIT_S = 1.0
#: How long a decision about a source is valid.
DECISION_TTL_S = 0.05
#: The number of sources whose decisions are kept.
DECISIONS_KEPT = 256


class Tier(Protocol):
    """The methods of `DiskTier` that the policy uses."""

    def missing(self, keys: Sequence[BlockKey]) -> list[BlockKey]:
        """The keys that are certainly not on disk, in their order."""

    def get_many(self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]) -> list[int | None]:
        """Read blocks into the buffers and return their lengths; None: not on disk."""

    def put(
        self, key: BlockKey, block: memoryview, owner: object = None, *, wait_s: float = 0.0
    ) -> bool:
        """Queue a block for writing; if the queue is full, wait at most ``wait_s`` for room."""


class DiskAdmission:
    """Gives the block loader access to the disk cache, with the policy. Thread-safe."""

    __slots__ = ("_clock", "_decisions", "_stats", "_tier")

    def __init__(
        self, tier: Tier, clock: Clock, stats: Callable[[str], HostStats | None] | None
    ) -> None:
        """Use the measured ``stats`` of a source's host; None: every block is admitted."""
        self._tier = tier
        self._clock = clock
        self._stats = stats
        self._decisions: dict[str, tuple[float, bool]] = {}

    def missing(self, keys: Sequence[BlockKey]) -> list[BlockKey]:
        """The keys that are certainly not on disk, in their order."""
        return self._tier.missing(keys)

    def get(self, keys: Sequence[BlockKey], views: Sequence[memoryview]) -> list[bool]:
        """Read each block into its view. False: it is no longer on disk, or it is damaged."""
        return [length is not None for length in self._tier.get_many(keys, views)]

    def put(self, key: BlockKey, view: memoryview, owner: object) -> None:
        """Queue the block if the policy admits it; keep ``owner`` alive until it is written."""
        if key.validator.startswith("/"):  # neither ETag nor Last-Modified
            return
        if self._stats is None:
            self._tier.put(key, view, owner, wait_s=QUEUE_WAIT_S)
        elif self._admit(key.embed_code, self._stats):
            self._tier.put(key, view, owner)

    def _admit(self, embed_code: str, stats: Callable[[str], HostStats | None]) -> bool:
        now_s = self._clock.monotonic()
        until_s, admitted = self._decisions.get(embed_code, (-1.0, False))
        if now_s < until_s:
            return admitted
        host = stats(embed_code)
        admitted = host is None or not (
            host.total_bytes_per_s > DISK_BYTES_S
            or (host.latency_s < NEAR_S and host.connection_bytes_per_s > NEAR_BYTES_S)
        )
        if len(self._decisions) >= DECISIONS_KEPT:
            self._decisions.clear()
        self._decisions[embed_code] = (now_s + DECISION_TTL_S, admitted)
        return admitted
