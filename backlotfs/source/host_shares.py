# SPDX-License-Identifier: Apache-2.0
"""How many probes of one source host may be under way, so that a slow host leaves room for others.

All probes share one pool of threads (`catalog.probe_scheduler.PROBE_THREADS`). A host that answers
no probe would occupy all threads, each until its time limit. So a host has `PLACES` places:

- While the host answers, a probe without a place waits for one, usually for milliseconds.
- A host that has answered no probe for `STALL_S` is *stalled*. Then a probe without a place fails
  at once with `HostBusy`. Only one probe per `TRIAL_S` is sent all the same: a trial.
- An answer ends the stall. A probe that began `STALL_S` or more before the last answer, and still
  waits, takes no place any more. A probe that has waited `FORGOTTEN_AFTER` times as long as this
  answer took is cut, because a host that has recovered has forgotten it. The others end at their
  time limits. In all, a host never has more than `MOST_PLACES` probes.

Here a host is a name with a port. All ports of one name together have `MOST_ON_ALL_PORTS` places,
so an API that names many ports of a slow machine does not get more threads.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

from cachetools import LRUCache

from backlotfs.errors import HostBusy
from backlotfs.http.exchange import Exchange

#: Probes of one host at a time: one sixteenth of the threads.
PLACES = 16
#: Most probes of one host, with trials and with those that take no place any more.
MOST_PLACES = 24
#: Of all ports of one host name: three eighths of the threads.
MOST_ON_ALL_PORTS = 96
#: Seconds without an answer after which a host with probes under way is stalled.
STALL_S = 2.0
#: The answer that ends a stall cuts the probes that have waited this many times as long as it took.
#: So a host that is slow for all probes keeps those that it is about to answer.
FORGOTTEN_AFTER = 3
#: Seconds between two trials at a stalled host.
TRIAL_S = 1.0
#: Hosts remembered.
REMEMBERED_HOSTS = 256


class _Host:
    """The probes under way at one host, and when it last answered; monotonic seconds."""

    def __init__(self) -> None:
        self.under_way: set[Place] = set()
        self.answered_s = 0.0
        self.trial_s = 0.0

    def has_room(self, now_s: float) -> bool:
        """Whether a probe may be sent now."""
        if len(self.under_way) >= MOST_PLACES:
            return False
        counted = sum(place.began_s + STALL_S > self.answered_s for place in self.under_way)
        return counted < PLACES or (self.stalled(now_s) and now_s - self.trial_s >= TRIAL_S)

    def stalled(self, now_s: float) -> bool:
        """Whether the host has answered nothing for a while, though it was asked."""
        since_s = min((place.began_s for place in self.under_way), default=now_s)
        return now_s - max(since_s, self.answered_s) >= STALL_S


class Place:
    """One probe's place at a host; given up with `end`.

    :ivar name: of the host, without the port.
    :ivar exchange: the probe's GET, as long as the host has not answered it.
    """

    __slots__ = ("_host", "_owner", "began_s", "exchange", "name")

    def __init__(self, owner: HostShares, host: _Host, name: str, began_s: float) -> None:
        self._owner = owner
        self._host = host
        self.name = name
        self.began_s = began_s
        self.exchange: Exchange | None = None

    def answered(self) -> None:
        """Note that the host has sent the head of an answer."""
        self._owner._answered(self._host, self)

    def end(self) -> None:
        """Give the place up: the probe is over. May be called again."""
        self._owner._ended(self._host, self)


class HostShares:
    """The places of all hosts. Any thread may call it; no lock is held while a host is asked."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._hosts: LRUCache[str, _Host] = LRUCache(REMEMBERED_HOSTS)
        self._under_way: Counter[str] = Counter()  # by host name

    def take(self, host: str, timeout_s: float) -> Place:
        """Take a place at ``host``; wait for one while the host answers other probes.

        :param host: name and port; the message contains it.
        :raises HostBusy: the host is stalled and has no place, no place came free within
            ``timeout_s``, or all ports of the name together have no place left.
        """
        until_s = time.monotonic() + timeout_s
        name = host.rpartition(":")[0]
        with self._changed:
            found = self._hosts.setdefault(host, _Host())
            while not found.has_room(now_s := time.monotonic()):
                stalled = found.stalled(now_s)
                if stalled or now_s >= until_s:
                    raise HostBusy(
                        f"source host {host} does not answer:"
                        f" {len(found.under_way)} requests wait for it"
                    )
                # nothing notifies of the beginning of a stall, so look again soon
                self._changed.wait(min(until_s - now_s, STALL_S / 10))
            if self._under_way[name] >= MOST_ON_ALL_PORTS:
                raise HostBusy(
                    f"source host {name} does not answer: {self._under_way[name]} requests wait for"
                    " it, on several ports"
                )
            if found.stalled(now_s):
                found.trial_s = now_s
            place = Place(self, found, name, now_s)
            found.under_way.add(place)
            self._under_way[name] += 1
            return place

    def _answered(self, host: _Host, place: Place) -> None:
        with self._changed:
            now_s = time.monotonic()
            place.exchange = None
            if host.stalled(now_s):
                longest_s = FORGOTTEN_AFTER * (now_s - place.began_s)
                for other in host.under_way:
                    if other.exchange is not None and now_s - other.began_s >= longest_s:
                        other.exchange.cut()
            host.answered_s = now_s
            self._changed.notify_all()

    def _ended(self, host: _Host, place: Place) -> None:
        with self._changed:
            if place in host.under_way:
                host.under_way.remove(place)
                self._under_way -= Counter((place.name,))  # drops names with a count of 0
            self._changed.notify_all()
