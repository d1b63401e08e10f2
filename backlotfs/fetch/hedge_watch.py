"""Watches the fetches that readers wait for, and asks for a hedge of a fetch that is late.

A fetch is *late* when it has begun and brought nothing for longer than nearly all others take (see
`hedging`). The block loader makes the hedge: it knows which blocks are still missing. One daemon
thread starts with the first fetch, and sleeps without a time limit while there is none to watch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from backlotfs.concurrency.clock import Clock
from backlotfs.fetch.block_fetch import BlockFetch

#: How often the fetches are looked at, beside the moment when one becomes late: others may have
#: come, begun, or got a waiting reader meanwhile.
LOOK_S = 0.05


class Hedges(Protocol):
    """Decides when to hedge and how often (`hosts.HostRegistry`)."""

    def hedge_delay_s(self, embed_code: str, length_bytes: int) -> float:
        """How long a reader waits for ``length_bytes`` before a hedge is made."""

    def begin_hedge(self, embed_code: str, length_bytes: int) -> Callable[[bool], None] | None:
        """Count a hedge and return what to call at its end with whether it contributed.

        None: no hedge may be made now.
        """


class HedgeWatch:
    """Any thread may call `add` and `discard`; ``hedge`` is called on the watch's thread."""

    def __init__(
        self, hedges: Hedges, hedge: Callable[[BlockFetch, Hedges], None], clock: Clock
    ) -> None:
        """``hedge``: makes a second GET for what a fetch does not bring, if it is allowed."""
        self._hedges = hedges
        self._hedge = hedge
        self._clock = clock
        self._wake = threading.Condition()
        self._watched: dict[int, BlockFetch] = {}
        self._started = False
        self._asleep = False  # without a time limit

    def add(self, fetch: BlockFetch) -> None:
        """Watch a fetch from now on."""
        with self._wake:
            self._watched[id(fetch)] = fetch
            if self._asleep:
                self._asleep = False
                self._wake.notify()
            if self._started:
                return
            self._started = True
        try:
            threading.Thread(target=self._watch, name="hedges", daemon=True).start()
        except RuntimeError:  # the system has no thread for us now; the next fetch may get one
            self._started = False

    def discard(self, fetch: BlockFetch) -> None:
        """Stop watching a fetch; it may be unknown."""
        with self._wake:
            self._watched.pop(id(fetch), None)

    def look(self, now_s: float) -> float | None:
        """Hedge what is late. Return when to look again; None while there is nothing to watch."""
        with self._wake:
            watched = list(self._watched.values())
        if not watched:
            return None
        next_s = again_s = now_s + LOOK_S
        for fetch in watched:
            moved_s = fetch.last_progress_s
            due_s = again_s
            if moved_s is not None and fetch.awaited:
                length = fetch.awaited_bytes
                due_s = moved_s + self._hedges.hedge_delay_s(fetch.embed_code, length)
                if due_s <= now_s:
                    self._hedge(fetch, self._hedges)
                    due_s = again_s
            next_s = min(next_s, due_s)
        return next_s

    def _watch(self) -> None:
        while True:
            next_s = self.look(self._clock.monotonic())
            with self._wake:
                if next_s is not None:
                    self._wake.wait(max(0.0, next_s - self._clock.monotonic()))
                    continue
                self._asleep = not self._watched  # one may have come since the look
                self._wake.wait_for(lambda: not self._asleep)
