"""Watches the transfers that readers wait for, and has a second GET made for one that is late.

*Late* is a transfer that has begun and brought nothing for longer than nearly all others take (see
`hedging`). The second GET is the block store's to make: it knows what is still missing. One daemon
thread comes with the first transfer, and sleeps without a time limit while there is none to watch.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Protocol

from backlotfs.concurrency.clock import Clock
from backlotfs.fetch.block_fetch import BlockFetch

#: While there are transfers to watch they are looked at this often, and when one is late: others
#: may have come, begun, or become awaited meanwhile.
LOOK_S = 0.05


class Hedges(Protocol):
    """Who decides when and how often: `SourceLines`."""

    def hedge_delay_s(self, embed_code: str, length_bytes: int) -> float:
        """How long a reader waits for ``length_bytes`` before a hedge."""

    def begin_hedge(self, embed_code: str, length_bytes: int) -> Callable[[bool], None] | None:
        """Book a hedge: what to call with whether it won, when it is over; None: not now."""


class NoHedges:
    """Never a hedge: where there is a limit to the bandwidth, or nobody measures."""

    def hedge_delay_s(self, embed_code: str, length_bytes: int) -> float:  # noqa: ARG002  # as Hedges
        """For ever."""
        return math.inf

    def begin_hedge(  # as Hedges
        self,
        embed_code: str,  # noqa: ARG002
        length_bytes: int,  # noqa: ARG002
    ) -> Callable[[bool], None] | None:
        """Not now."""
        return None


class HedgeWatch:
    """Any thread may `add` and `discard`; ``hedge`` is called on the watch's thread."""

    def __init__(
        self, hedges: Hedges, hedge: Callable[[BlockFetch], None], clock: Clock
    ) -> None:
        """``hedge``: make a second GET for what this transfer does not bring, if it is allowed."""
        self._hedges = hedges
        self._hedge = hedge
        self._clock = clock
        self._wake = threading.Condition()
        self._watched: dict[int, BlockFetch] = {}
        self._idle = isinstance(hedges, NoHedges)  # then there is nothing to watch for
        self._started = False
        self._asleep = False  # without a time limit

    def add(self, transfer: BlockFetch) -> None:
        """Watch it from now on."""
        if self._idle:
            return
        with self._wake:
            self._watched[id(transfer)] = transfer
            if self._asleep:
                self._asleep = False
                self._wake.notify()
            if self._started:
                return
            self._started = True
        try:
            threading.Thread(target=self._watch, name="hedges", daemon=True).start()
        except RuntimeError:  # the system has no thread for us now; the next transfer may
            self._started = False

    def discard(self, transfer: BlockFetch) -> None:
        """It is over, or was never watched."""
        if self._idle:
            return
        with self._wake:
            self._watched.pop(id(transfer), None)

    def look(self, now_s: float) -> float | None:
        """Hedge what is late; when to look again, None while there is nothing to watch."""
        with self._wake:
            watched = list(self._watched.values())
        if not watched:
            return None
        next_s = again_s = now_s + LOOK_S
        for transfer in watched:
            moved_s = transfer.moved_s
            due_s = again_s
            if moved_s is not None and transfer.awaited:
                length = transfer.awaited_bytes
                due_s = moved_s + self._hedges.hedge_delay_s(transfer.embed_code, length)
                if due_s <= now_s:
                    self._hedge(transfer)
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
