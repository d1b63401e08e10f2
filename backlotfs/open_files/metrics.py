"""What applications have read: how much, out of which tier, and who.

Counted once for each answered read, a few additions under a lock of its own: a thousand times a
second where a gigabyte a second is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from backlotfs.cache.memory import TIERS
from backlotfs.source.bandwidth import RecentRate

#: Names counted apart; whoever comes after so many is one of `OTHERS`.
NAMES_KEPT = 200
OTHERS = "(others)"


class AnsweredRead(Protocol):
    """What is counted of a `Demand`."""

    @property
    def asked_bytes(self) -> int:
        """Bytes that were asked for and there are."""

    @property
    def came_from(self) -> list[int]:
        """Blocks, by tier."""

    @property
    def first_use_bytes(self) -> int:
        """Of what was fetched, the bytes of blocks that no read had had before."""


@dataclass(slots=True)
class Usage:
    """What one name, or all of them, have read since the mount began.

    :ivar reads: requests of the kernel that were answered with bytes.
    :ivar failed: requests that were answered with an errno.
    :ivar asked_bytes: of all answered requests; the kernel's own read-ahead is among them.
    :ivar blocks: by tier, see `tiers`.
    """

    reads: int = 0
    failed: int = 0
    asked_bytes: int = 0
    blocks: list[int] = field(default_factory=lambda: [0] * len(TIERS))

    def add(self, other: Usage) -> None:
        """Sum up."""
        self.reads += other.reads
        self.failed += other.failed
        self.asked_bytes += other.asked_bytes
        self.blocks = [
            mine + theirs for mine, theirs in zip(self.blocks, other.blocks, strict=True)
        ]

    def copy(self) -> Usage:
        """As it is now."""
        return Usage(self.reads, self.failed, self.asked_bytes, list(self.blocks))


class ReadCounts:
    """Any thread may call it."""

    def __init__(
        self,
        name_of: Callable[[int], str],
        *,
        rate: RecentRate | None = None,
        note: Callable[[int, Exception], None] = lambda _fh, _error: None,
    ) -> None:
        """Count from 0.

        :param name_of: the name of a process by its id; quick, and raises nothing.
        :param rate: is told of what is answered.
        :param note: is told of each read that failed: its file handle, and why.
        """
        self._name_of = name_of
        self._rate = rate
        self._note = note
        self._lock = threading.Lock()
        self._by_name: dict[str, Usage] = {}
        self._used_bytes = 0

    def answered(self, pid: int, read: AnsweredRead) -> None:
        """A read of this process is answered with all it asked for."""
        name = self._name_of(pid)
        with self._lock:
            usage = self._usage(name)
            usage.reads += 1
            usage.asked_bytes += read.asked_bytes
            for tier, blocks in enumerate(read.came_from):
                usage.blocks[tier] += blocks
            self._used_bytes += read.first_use_bytes
        if self._rate is not None:
            self._rate.add(read.asked_bytes)

    def failed(self, pid: int, fh: int, error: Exception) -> None:
        """A read of this process is answered with an errno, or not waited for any more."""
        name = self._name_of(pid)
        with self._lock:
            self._usage(name).failed += 1
        self._note(fh, error)

    @property
    def used_bytes(self) -> int:
        """Of what was fetched, what some read has had: each byte once, by whole blocks."""
        return self._used_bytes

    def total(self) -> Usage:
        """Of all names together."""
        everybody = Usage()
        for usage in self.by_name().values():
            everybody.add(usage)
        return everybody

    def by_name(self) -> dict[str, Usage]:
        """Copies, those who asked for most first."""
        with self._lock:
            found = {name: usage.copy() for name, usage in self._by_name.items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1].asked_bytes, item[0])))

    def _usage(self, name: str) -> Usage:
        """With the lock held."""
        usage = self._by_name.get(name)
        if usage is None:
            if len(self._by_name) >= NAMES_KEPT:
                name = OTHERS
            usage = self._by_name.setdefault(name, Usage())
        return usage


class NullMetrics:
    """In the place of `ReadCounts` where nobody asks."""

    def answered(self, pid: int, read: AnsweredRead) -> None:
        """Nothing."""

    def failed(self, pid: int, fh: int, error: Exception) -> None:
        """Nothing."""
