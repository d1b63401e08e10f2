# SPDX-License-Identifier: Apache-2.0
"""A host to which no connection can be made is asked once a second, not by every reader at once.

Theory of operation. `LIMIT` failures to connect in a row open a host's breaker. From then on one
caller per `RETRY_INTERVAL_S` is let through; the others get `CircuitOpen`, which says how long to
wait. The first connection that succeeds closes the breaker. So a host that is back is found within
`RETRY_INTERVAL_S` of the next wish to ask it, and nothing has to watch it meanwhile.

Only connecting counts: refused, no route, no name, no TLS, no handshake in time. What a host does
over a connection (5xx, resets, silence) may be about one source, and must not stop the others.

pybreaker was looked at: it holds its lock while it calls, so that a host's GETs would go one after
another, and it tells time by the wall clock. Pure but for the clock that is handed in.
"""

from __future__ import annotations

import logging
import threading

from cachetools import LRUCache

from backlotfs.concurrency.clock import Clock
from backlotfs.errors import CircuitOpen
from backlotfs.log import events

log = logging.getLogger(__name__)

#: More than the attempts of one read: a single reader is dealt with by its own backoff.
LIMIT = 8
#: Seconds between two attempts while it is open.
RETRY_INTERVAL_S = 1.0
#: Hosts remembered, those in trouble and those that were asked last.
REMEMBERED_HOSTS = 64


class _Trouble:
    """Failures in a row, how the last came about, and when the next attempt may be."""

    __slots__ = ("failures", "next_s", "why")

    def __init__(self) -> None:
        self.failures = 0
        self.next_s = 0.0
        self.why = ""


class Breakers:
    """A breaker per host. Any thread may call it; the lock is never held while a host is asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._troubled: LRUCache[str, _Trouble] = LRUCache(REMEMBERED_HOSTS)

    def check(self, host: str, *, only_look: bool = False) -> None:
        """Return if a connection may be tried now; the caller tells `failed` or `reached` then.

        :param only_look: leave the turn to somebody else: no connection is tried yet.
        :raises CircuitOpen: not yet; it says when.
        """
        with self._lock:
            trouble = self._troubled.get(host)
            if trouble is None or trouble.failures < LIMIT:
                return
            now_s = self._clock.monotonic()
            wait_s = trouble.next_s - now_s
            if wait_s <= 0:
                if not only_look:  # the caller has this turn, however long it takes
                    trouble.next_s = now_s + RETRY_INTERVAL_S
                return
        raise CircuitOpen(
            f"{trouble.why}; it is asked again in {wait_s:.1f} s", retry_after_s=wait_s
        )

    def failed(self, host: str, why: str) -> None:
        """Note that no connection came about; later callers are told ``why``: no secret in it."""
        with self._lock:
            trouble = self._troubled.setdefault(host, _Trouble())
            trouble.why = why
            trouble.failures += 1
            opened = trouble.failures == LIMIT
            if opened:
                trouble.next_s = self._clock.monotonic() + RETRY_INTERVAL_S
        if opened:
            events.HOST_DOWN.log(log, host=host, reason=why, seconds=RETRY_INTERVAL_S)

    def count_open(self) -> int:
        """The number of hosts whose breaker is open."""
        with self._lock:
            return sum(trouble.failures >= LIMIT for trouble in self._troubled.values())

    def reached(self, host: str) -> None:
        """Note that a connection came about: the breaker closes."""
        with self._lock:
            trouble = self._troubled.pop(host, None)
        if trouble is not None and trouble.failures >= LIMIT:
            events.HOST_UP.log(log, host=host)
