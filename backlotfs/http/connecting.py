# SPDX-License-Identifier: Apache-2.0
"""Makes TCP connections: looks up the name of a host, and tries its addresses in parallel.

A name may have an address at which no machine answers: IPv6 without a route, or a machine that is
down. So the addresses are tried as RFC 8305 says ("happy eyeballs"). Attempts start
`ATTEMPT_DELAY_S` apart, or less if there are many addresses. After a failure, the next attempt
starts at once. The address families take turns, beginning with the system's first address. The
first connection that is made is used, and the other attempts are closed. Its address is tried first
the next time. An address that accepted a connection and then did not answer is tried last
(`Peer.distrust`). An address that has never answered a request may never do so (`Peer.may_hang`).

`socket.getaddrinfo` cannot be interrupted, and takes half a minute or more if a name server does
not answer. So it runs on threads of its own, one look-up per name at a time, and a caller waits no
longer than its time limit. Attempts to connect need no threads.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple, cast

from cachetools import LRUCache, TTLCache

from backlotfs.concurrency.single_flight import SingleFlight
from backlotfs.concurrency.workers import Workers
from backlotfs.config.time_limits import ATTEMPT_DELAY_S
from backlotfs.http.address_policy import parse_address

#: Names looked up at the same time.
THREADS = 64

#: Family, kind, protocol, canonical name, address: an entry of `socket.getaddrinfo`.
AddressInfo = tuple[Any, Any, int, str, Any]
#: Takes host, port, family and kind; `socket.getaddrinfo` is one.
Resolve = Callable[..., list[AddressInfo]]

_threads = Workers(THREADS, "resolver")
_flights: SingleFlight[tuple[str, int, Resolve], list[AddressInfo]] = SingleFlight()


def look_up(
    host: str, port: int, timeout_s: float, *, resolve: Resolve | None = None
) -> list[AddressInfo]:
    """The TCP addresses of ``host``, in the system's order.

    :param resolve: used instead of `socket.getaddrinfo`.
    :raises TimeoutError: not within ``timeout_s``; the look-up goes on without the caller.
    :raises OSError, UnicodeError: the name does not resolve, or is not a host name.
    """
    call = resolve or socket.getaddrinfo
    if resolve is None and parse_address(host) is not None:
        return call(host, port, 0, socket.SOCK_STREAM)  # needs no name server
    key = (host, port, call)
    flight, ours = _flights.join(key)
    if ours:
        _threads.submit(lambda: _flights.fly(key, lambda: call(host, port, 0, socket.SOCK_STREAM)))
    try:
        return flight.result(timeout_s)
    except TimeoutError:
        if flight.done():
            raise
        raise TimeoutError("the look-up of its name takes too long") from None


#: The shortest delay between attempts (RFC 8305 §5), also if there are many addresses.
LEAST_DELAY_S = 0.01
#: Most attempts of one caller at a time; a further attempt ends the oldest.
MOST_ATTEMPTS = 16
#: How long it is remembered which address of a host answered, and which did not.
REMEMBERED_S = 600.0
_REMEMBERED_HOSTS = 1024
# a timeout of 0 would make a socket non-blocking
_LEAST_TIMEOUT_S = 0.001


class _Memory:
    """Remembers which address of a host was used last, and which did not answer.

    Any thread may call it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._won: TTLCache[tuple[str, int], Any] = TTLCache(_REMEMBERED_HOSTS, REMEMBERED_S)
        self._distrusted: TTLCache[tuple[str, Any], bool] = TTLCache(
            _REMEMBERED_HOSTS, REMEMBERED_S
        )
        self._answered: LRUCache[tuple[str, Any], bool] = LRUCache(_REMEMBERED_HOSTS)

    def in_order(
        self, host: str, addresses: Iterable[AddressInfo], *, another: bool
    ) -> list[AddressInfo]:
        """The addresses in the order in which they are tried, each once.

        :param another: begin with the address behind the last winner in the system's order.
        """
        found = list(dict.fromkeys(addresses))
        with self._lock:
            distrusted = [info for info in found if (host, info[4]) in self._distrusted]
            won = self._won.get((host, found[0][4][1])) if found else None
        trusted = [info for info in found if info not in distrusted]
        if another:
            behind = next((at + 1 for at, info in enumerate(trusted) if info[4] == won), 0)
            trusted = trusted[behind:] + trusted[:behind]
        else:
            trusted.sort(key=lambda info: info[4] != won)  # stable: the others keep their order
        return [*_families_in_turn(trusted), *_families_in_turn(distrusted)]

    def won(self, host: str, address: Any) -> None:
        with self._lock:
            self._won[host, address[1]] = address

    def none_won(self, host: str, port: int) -> None:
        with self._lock:
            self._won.pop((host, port), None)

    def answered(self, host: str, address: Any) -> None:
        with self._lock:
            self._answered[host, address] = True

    def may_hang(self, host: str, address: Any, others: Iterable[Any], *, first: bool) -> bool:
        with self._lock:
            if (host, address) in self._answered:
                return False
            trusted = [(host, other) not in self._distrusted for other in others]
        return all(trusted) if first else any(trusted)

    def distrust(self, host: str, address: Any) -> None:
        with self._lock:
            self._distrusted[host, address] = True
            self._answered.pop((host, address), None)


def _families_in_turn(addresses: Iterable[AddressInfo]) -> list[AddressInfo]:
    families: dict[Any, list[AddressInfo]] = {}
    for info in addresses:
        families.setdefault(info[0], []).append(info)
    turns = zip_longest(*families.values())
    return [info for turn in turns for info in turn if info is not None]


#: One per process, because all mounts in it reach the same machines.
_memory = _Memory()


@dataclass(frozen=True, slots=True)
class Peer:
    """The address of one connection to a host that has several addresses.

    The user of the connection reports here whether the address answers, because another connection
    may use another address.
    """

    host: str
    address: Any
    others: frozenset[Any]

    def distrust(self) -> None:
        """Note that the address did not answer: from now on it is tried last."""
        _memory.distrust(self.host, self.address)

    def answered(self) -> None:
        """Note that the address has answered a request."""
        _memory.answered(self.host, self.address)

    def may_hang(self, *, first: bool = False) -> bool:
        """Whether this address never answered, and another address may answer.

        :param first: return False if another address has failed, because the host may be slow.
        """
        return _memory.may_hang(self.host, self.address, self.others, first=first)


class Connected(NamedTuple):
    """A TCP socket and its `Peer`; None: the host has only one address, or a proxy chose it."""

    sock: socket.socket
    peer: Peer | None


def connect_directly(
    host: str, port: int, timeout_s: float, *, resolve: Resolve | None = None
) -> Connected:
    """A TCP socket to one of the addresses of ``host``; errors of `look_up` and `connect_to_any`.

    :param timeout_s: for the look-up and all addresses together.
    """
    until_s = time.monotonic() + timeout_s
    return connect_to_any(host, look_up(host, port, timeout_s, resolve=resolve), until_s)


def connect_to_any(
    host: str, addresses: Sequence[AddressInfo], until_s: float, *, another: bool = False
) -> Connected:
    """A TCP socket, connected to the first address that answers. Its timeout is the time left.

    :param host: the name under which the address that answered is remembered.
    :param addresses: of the host; no other is connected to.
    :param until_s: on the monotonic clock, for all addresses together.
    :param another: prefer another address than the one that answered last.
    :raises ConnectionRefusedError: an address refused, so the host is up; no other answered.
    :raises TimeoutError: no address refused, and at least one did not answer in time.
    :raises OSError: else the error of the first address that was tried.
    """
    order = _memory.in_order(host, addresses, another=another)
    if not order:
        raise OSError("the host has no address")
    try:
        winner, address = _Race(order, until_s).run()
    except OSError:
        _memory.none_won(host, order[0][4][1])
        raise
    winner.settimeout(max(_LEAST_TIMEOUT_S, until_s - time.monotonic()))  # TLS gets the time left
    others = frozenset(info[4] for info in order) - {address}
    if not others:
        return Connected(winner, None)
    _memory.won(host, address)
    return Connected(winner, Peer(host, address, others))


class _Race:
    """The attempts of one `connect_to_any`; belongs to one thread."""

    def __init__(self, order: Sequence[AddressInfo], until_s: float) -> None:
        self._waiting = deque(order)
        self._until_s = until_s
        # if there are many addresses, all attempts start within half of the time
        share_s = (until_s - time.monotonic()) / 2 / len(order)
        self._delay_s = max(LEAST_DELAY_S, min(ATTEMPT_DELAY_S, share_s))
        self._next_s = 0.0  # when the next attempt starts
        self._under_way: dict[socket.socket, Any] = {}  # each with its address, the oldest first
        self._selector = selectors.PollSelector()  # unlike epoll it needs no descriptor
        self._errors: list[OSError] = []
        self._silent = False

    def run(self) -> tuple[socket.socket, Any]:
        """The first socket that is connected, and its address; every other one is closed.

        :raises OSError: see `connect_to_any`.
        """
        try:
            winner = self._first_connected()
            return winner, self._under_way.pop(winner)
        finally:
            self._selector.close()
            for attempt in self._under_way:
                attempt.close()

    def _first_connected(self) -> socket.socket:
        while self._waiting or self._under_way:
            now_s = time.monotonic()
            if now_s >= self._until_s:
                self._silent = True
                break
            if self._waiting and (now_s >= self._next_s or not self._under_way):
                self._next_s = now_s + self._delay_s
                self._begin(*self._waiting.popleft())
                continue
            wake_s = min(self._next_s, self._until_s) if self._waiting else self._until_s
            for key, _ in self._selector.select(wake_s - now_s):
                attempt = cast("socket.socket", key.fileobj)
                if self._is_connected(attempt):
                    return attempt
        raise self._error()

    def _begin(self, family: Any, kind: Any, protocol: int, _name: str, address: Any) -> None:
        if len(self._under_way) >= MOST_ATTEMPTS:
            self._silent = True
            self._give_up(next(iter(self._under_way)))
        try:
            attempt = socket.socket(family, kind, protocol)
        except OSError as error:  # the kernel does not know the family: IPv6 is switched off
            self._failed(error)
            return
        attempt.setblocking(False)
        attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._under_way[attempt] = address
        self._selector.register(attempt, selectors.EVENT_WRITE)
        code = attempt.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            self._give_up(attempt)
            self._failed(OSError(code, os.strerror(code)))

    def _is_connected(self, attempt: socket.socket) -> bool:
        code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            return True
        self._give_up(attempt)
        self._failed(OSError(code, os.strerror(code)))
        return False

    def _failed(self, error: OSError) -> None:
        self._errors.append(error)
        self._next_s = 0.0  # at once

    def _give_up(self, attempt: socket.socket) -> None:
        del self._under_way[attempt]
        self._selector.unregister(attempt)
        attempt.close()

    def _error(self) -> OSError:
        refused = [error for error in self._errors if isinstance(error, ConnectionRefusedError)]
        if refused:
            return refused[0]
        if self._silent or not self._errors:
            return TimeoutError("no address of the host answered in time")
        return self._errors[0]
