# SPDX-License-Identifier: Apache-2.0
"""Remembers the reads and opens that failed lately: of which file, when and why."""

from __future__ import annotations

import errno
import threading
from collections import Counter, OrderedDict, deque
from typing import NamedTuple

from backlotfs.concurrency.clock import Clock
from backlotfs.errors import BacklotError, Interrupted
from backlotfs.log.redaction import redacted

#: The number of latest failures that are remembered, and the number of sources whose last failure
#: is remembered.
KEPT, SOURCES_KEPT = 20, 1000
#: Longer reasons are cut, because they may contain text of a server.
REASON_CHARACTERS = 300


class Failure(NamedTuple):
    """One failure, or several in a row for the same reason.

    :ivar at_s: when the last of them happened, in seconds since the epoch.
    :ivar name: the path of the file, as it was opened.
    :ivar errno: the name of the errno, such as ``EIO``.
    :ivar reason: the text of the error, without secrets.
    :ivar times: the number of these failures.
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
        self._by_errno: Counter[str] = Counter()

    def note(self, embed_code: str, name: str, error: Exception) -> None:
        """Record that reading or opening a file failed. An interrupted read is not recorded."""
        if isinstance(error, Interrupted):
            return
        known = isinstance(error, BacklotError)
        number = error.errno if isinstance(error, BacklotError) else errno.EIO
        # Of other exceptions only the type is kept, because their text may contain anything.
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
            self._by_errno[failure.errno] += 1
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
        """The last failure of a source; None if none is remembered."""
        return self._by_source.get(embed_code)

    def by_errno(self) -> dict[str, int]:
        """The number of all failures by the name of their errno."""
        with self._lock:
            return dict(self._by_errno)

    def latest(self) -> list[Failure]:
        """The latest failures of all sources, the last one first."""
        with self._lock:
            return list(reversed(self._recent))
