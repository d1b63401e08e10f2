# SPDX-License-Identifier: Apache-2.0
"""When a fetch is hedged by a second GET, and how many hedges are made at most.

A fetch is *late* when it has begun and has received nothing for longer than nearly all other GETs
take. Then a second GET is made on another connection, and the blocks of the faster GET are used.
The time limit is computed from two measurements: the share `TAIL` of all first bytes arrived
sooner, and the share `TAIL` of all connections was faster. The limit is never below `FLOOR_S`,
which is longer than the handshakes of a new connection to a host 30 ms away: a hedge after less
time costs more than it brings.

Three limits keep the cost low when a host is slow for all requests: a share of the requests, a
share of the bytes, and a number of hedges at once for each source. Both shares are counted over the
last 30 to 60 seconds. A few hedges are allowed beyond the shares, because otherwise the first GET
that stalls could not be hedged. A host that refuses more than the share `REFUSED` of its requests
gets no hedges.

The block loader watches the fetches and makes the hedges, because it knows which blocks are
missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from backlotfs.concurrency.clock import Clock
from backlotfs.fetch.hosts import HostRegistry

#: The share of GETs that are not in the slow tail.
TAIL = 0.95
#: A GET is late after this many times the duration that the share `TAIL` of all GETs stays below.
LATE_FACTOR = 1.5
#: No hedge is made sooner than `FLOOR_S`. While too few GETs were measured, none is made sooner
#: than `BLIND_S`.
FLOOR_S = 0.15
BLIND_S = 1.0
#: The tail is estimated from at least this many latencies.
ENOUGH_SAMPLES = 20
#: The allowed share of hedges in all requests, and of hedged bytes in all received bytes. Both are
#: counted over one to two times `hosts.LOAD_WINDOW_S`.
SHARE = 0.05
#: A host gets hedges if it refused (429, 503) at most this share of its requests in that time.
REFUSED = 0.05
#: The number of hedges, and of hedged bytes, that are allowed beyond the share.
ALLOWED_HEDGES = 2
ALLOWED_BYTES = 1024 * 1024
#: Hedges of one source that may run at once.
AT_ONCE = 2


def _not_queued(_embed_code: str) -> bool:
    return False


class HedgePolicy:
    """Decides when a fetch is late, and whether it may be hedged. Any thread may call it."""

    def __init__(
        self, hosts: HostRegistry, clock: Clock, queued: Callable[[str], bool] = _not_queued
    ) -> None:
        """``queued``: whether the URL of a source waits for an API credit; then no GET is late."""
        self._hosts = hosts
        self._clock = clock
        self._under_way: Counter[str] = Counter()  # by source
        self.queued = queued

    def delay_s(self, embed_code: str, length_bytes: int) -> float:
        """Seconds after which a GET that has not brought ``length_bytes`` is late."""
        with self._hosts.lock:
            host = self._hosts.host_of(embed_code)
            latency_s = host.first_byte_s(TAIL)
            if latency_s is None or host.latencies_known < ENOUGH_SAMPLES:
                return BLIND_S
            slow_bytes_per_s = host.connection_bytes_per_s(1 - TAIL)
        flowing_s = length_bytes / slow_bytes_per_s if slow_bytes_per_s else 0.0
        return max(FLOOR_S, LATE_FACTOR * (latency_s + flowing_s))

    def begin(self, embed_code: str, length_bytes: int) -> Callable[[bool], None] | None:
        """Count a hedge, if one may be made now; otherwise return None.

        :returns: a function to call when the hedge ends, with whether it brought a block first.
        """
        now_s = self._clock.monotonic()
        with self._hosts.lock:
            host = self._hosts.host_of(embed_code)
            recent = host.recent_load(now_s)
            allowed = (
                self._under_way[embed_code] < AT_ONCE
                and recent.refused <= REFUSED * recent.gets
                and recent.hedges + 1 <= ALLOWED_HEDGES + SHARE * recent.gets
                and recent.hedged_bytes + length_bytes
                <= ALLOWED_BYTES + SHARE * recent.received_bytes
            )
            if not allowed:
                return None
            host.load(now_s).hedges += 1
            host.load(now_s).hedged_bytes += length_bytes
            self._under_way[embed_code] += 1
            self._hosts.hedges += 1
        return partial(self._ended, embed_code)

    def _ended(self, embed_code: str, won: bool) -> None:  # as BlockFetch.on_done
        with self._hosts.lock:
            self._under_way -= Counter((embed_code,))  # removes sources that have no hedge left
            self._hosts.hedges_won += won
