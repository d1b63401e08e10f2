"""Hedges: when to ask a second time for what a reader waits for, and how often at most.

A fetch is *late* when it has begun and brought nothing for longer than nearly all other GETs took.
Then a second GET is made on another connection, and the first answer wins. What "longer than nearly
all" means is learned: `TAIL` of the first bytes came sooner, `TAIL` of the connections were faster.
Never below `FLOOR_S`, which lies above the handshakes of a new connection to a host 30 ms away:
below it a hedge gains less than it costs.

Cost is bounded three ways, so that a host which is slow for everybody is not asked twice for
everything: by a share of the requests, by a share of the bytes (each over a sliding time, with a
small allowance, or the first GET that stalls could never be hedged), and by a number at once per
source. A host that refuses more than `REFUSED` of what it is asked is not helped by being asked
twice; one that refuses a GET now and then is, for the others it lets hang.

The block loader watches the fetches and makes the hedges: it knows which blocks are still missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from backlotfs.concurrency.clock import Clock
from backlotfs.fetch.hosts import HostRegistry

#: The part of GETs that is not the slow tail.
TAIL = 0.95
#: A GET is late after this many times what the tail takes.
PATIENCE = 1.5
#: No hedge before this; and before so much while too little is known.
FLOOR_S = 0.15
BLIND_S = 1.0
#: Latencies that make an estimate of a tail.
ENOUGH_SAMPLES = 20
#: Hedges per request, hedged bytes per byte, over `hosts.LOAD_WINDOW_S` to twice that.
SHARE = 0.05
#: The part of the requests over the same time that a host may refuse (429, 503) and be hedged.
REFUSED = 0.05
#: What is allowed beyond the share.
ALLOWED_HEDGES = 2
ALLOWED_BYTES = 1024 * 1024
#: Hedges under way for one source.
AT_ONCE = 2


def _not_queued(_embed_code: str) -> bool:
    return False


class HedgePolicy:
    """Decides when a fetch is late, and whether it may be hedged. Any thread may call it."""

    def __init__(
        self, hosts: HostRegistry, clock: Clock, queued: Callable[[str], bool] = _not_queued
    ) -> None:
        """``queued``: whether the URL of a source waits for an API credit: no GET is late then."""
        self._hosts = hosts
        self._clock = clock
        self._under_way: Counter[str] = Counter()  # by source
        self.queued = queued

    def delay_s(self, embed_code: str, length_bytes: int) -> float:
        """How long a reader waits for ``length_bytes``, from the GET's start, before a hedge."""
        with self._hosts.lock:
            estimate = self._hosts.host_of(embed_code).estimate
            latency_s = estimate.first_byte_s(TAIL)
            if latency_s is None or estimate.latencies_known < ENOUGH_SAMPLES:
                return BLIND_S
            slow_bytes_per_s = estimate.connection_bytes_per_s(1 - TAIL)
        flowing_s = length_bytes / slow_bytes_per_s if slow_bytes_per_s else 0.0
        return max(FLOOR_S, PATIENCE * (latency_s + flowing_s))

    def begin(self, embed_code: str, length_bytes: int) -> Callable[[bool], None] | None:
        """Count a hedge and return what to call at its end with whether it brought a block first.

        None: no hedge may be made now.
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
            self._under_way -= Counter((embed_code,))  # sources without any are forgotten
            self._hosts.hedges_won += won
