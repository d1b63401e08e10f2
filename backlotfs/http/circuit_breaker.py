# SPDX-License-Identifier: Apache-2.0
"""A host to which no connection can be made is asked once a second, not by every reader at once.

Theory of operation. `LIMIT` failures to connect in a row open a host's breaker. From then on one
caller per `RETRY_INTERVAL_S` is let through; the others get `CircuitOpen`, which says how long to
wait. The first connection that succeeds closes the breaker. So a host that can be reached again is
found within `RETRY_INTERVAL_S` of the next request to it, and nothing has to watch it meanwhile.

Only failures to connect count: refused, no route, no name, no TLS, no handshake in time. A failure
over a connection (5xx, reset, no answer) may concern one source only, and must not stop the others.

The library pybreaker does not fit: it holds its lock during a call, so the GETs of a host would be
made one after another, and it uses the wall clock.
"""

from __future__ import annotations

import logging
import threading

from cachetools import LRUCache

from backlotfs.concurrency.clock import Clock
from backlotfs.errors import CircuitOpen
from backlotfs.log import events

log = logging.getLogger(__name__)

#: More than the attempts of one read, because a single reader has its own backoff.
LIMIT = 8
#: Seconds between two attempts while a breaker is open.
RETRY_INTERVAL_S = 1.0
#: Most hosts with failures that are remembered; the one that was asked longest ago is forgotten.
REMEMBERED_HOSTS = 64


class _Trouble:
    """The failures in a row, the reason of the last one, and the time of the next attempt."""

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
        """Return if a connection may be tried now; after the attempt, call `failed` or `reached`.

        :param only_look: do not take the turn, because no connection is tried yet.
        :raises CircuitOpen: no connection may be tried yet; the error says when.
        """
        with self._lock:
            trouble = self._troubled.get(host)
            if trouble is None or trouble.failures < LIMIT:
                return
            now_s = self._clock.monotonic()
            wait_s = trouble.next_s - now_s
            if wait_s <= 0:
                if not only_look:  # this caller has the turn; the next turn is an interval later
                    trouble.next_s = now_s + RETRY_INTERVAL_S
                return
        raise CircuitOpen(
            f"{trouble.why}; it is asked again in {wait_s:.1f} s", retry_after_s=wait_s
        )

    def failed(self, host: str, why: str) -> None:
        """Note that no connection was made. Later callers see ``why``, which holds no secret."""
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
        """Note that a connection was made, and close the breaker."""
        with self._lock:
            trouble = self._troubled.pop(host, None)
        if trouble is not None and trouble.failures >= LIMIT:
            events.HOST_UP.log(log, host=host)
