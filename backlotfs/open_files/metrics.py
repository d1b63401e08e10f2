"""What applications have read: how much, out of which tier, by which program; and what failed.

Each read is counted once, when it is answered: a few additions under one lock, a thousand times a
second where a gigabyte a second is read.
"""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from backlotfs.cache.memory import TIERS
from backlotfs.concurrency.clock import Clock
from backlotfs.errors import BacklotError, Interrupted
from backlotfs.fetch.loader import PendingRead
from backlotfs.log.redaction import redacted
from backlotfs.source.bandwidth import RecentRate

#: Names counted apart; whoever comes after so many is one of `OTHERS`.
NAMES_KEPT = 200
OTHERS = "(others)"
#: Failures remembered in all, and sources of which the last one is.
KEPT, SOURCES_KEPT = 20, 1000
#: Longer reasons are cut: they may quote a server.
REASON_CHARACTERS = 300


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
    """Counts the reads of applications. Any thread may call it."""

    def __init__(
        self,
        name_of: Callable[[int], str],
        *,
        rate: RecentRate | None = None,
        note: Callable[[int, Exception], None] = lambda _fh, _error: None,
    ) -> None:
        """Count from 0.

        :param name_of: the name of a process by its id; quick, and raises nothing.
        :param rate: counts the bytes that are answered.
        :param note: is called with each read that failed: its file handle, and why.
        """
        self._name_of = name_of
        self._rate = rate
        self._note = note
        self._lock = threading.Lock()
        self._by_name: dict[str, Usage] = {}
        self._used_bytes = 0

    def answered(self, pid: int, read: PendingRead) -> None:
        """Count a read of this process that is answered with all it asked for."""
        asked_bytes = read.wanted.length
        name = self._name_of(pid)
        with self._lock:
            usage = self._usage(name)
            usage.reads += 1
            usage.asked_bytes += asked_bytes
            for tier, blocks in enumerate(read.came_from):
                usage.blocks[tier] += blocks
            self._used_bytes += read.first_use_bytes
        if self._rate is not None:
            self._rate.add(asked_bytes)

    def failed(self, pid: int, fh: int, error: Exception) -> None:
        """Count a read of this process that is answered with an errno, or not waited for."""
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


class Failure(NamedTuple):
    """One failure, or several in a row for the same reason.

    :ivar at_s: of the last of them, seconds since the epoch. :ivar name: as it was opened.
    :ivar errno: its name, as ``EIO``. :ivar reason: without secrets. :ivar times: how many.
    """

    at_s: float
    embed_code: str
    name: str
    errno: str
    reason: str
    times: int


class RecentErrors:
    """The last reads and opens that failed: of which file, when and why. Any thread may call it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._recent: deque[Failure] = deque(maxlen=KEPT)
        self._by_source: OrderedDict[str, Failure] = OrderedDict()

    def note(self, embed_code: str, name: str, error: Exception) -> None:
        """Note that reading or opening a file failed. A reader that was killed is no failure."""
        if isinstance(error, Interrupted):
            return
        known = isinstance(error, BacklotError)
        number = error.errno if isinstance(error, BacklotError) else errno.EIO
        # The type only: the text of a foreign exception may quote anything.
        reason = redacted(str(error)) if known else type(error).__name__
        failure = Failure(
            self._clock.now(),
            embed_code,
            name,
            errno.errorcode.get(number, str(number)),
            reason[:REASON_CHARACTERS],
            1,
        )
        with self._lock:
            last = self._recent[-1] if self._recent else None
            if last is not None and last[1:5] == failure[1:5]:
                failure = failure._replace(times=last.times + 1)
                self._recent.pop()
            self._recent.append(failure)
            self._by_source[embed_code] = failure
            self._by_source.move_to_end(embed_code)
            if len(self._by_source) > SOURCES_KEPT:
                self._by_source.popitem(last=False)

    def of(self, embed_code: str) -> Failure | None:
        """The last of a source; None: none that is remembered."""
        return self._by_source.get(embed_code)

    def latest(self) -> list[Failure]:
        """Those of all sources, the latest first."""
        with self._lock:
            return list(reversed(self._recent))
