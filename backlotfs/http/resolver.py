"""Host names to addresses, within a time limit.

`socket.getaddrinfo` cannot be interrupted and takes as long as the system's resolver likes: half a
minute and more, where a name server is silent. So it runs on threads of its own, one look-up of a
name at a time, and who asks waits no longer than it may.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from backlotfs.concurrency.single_flight import SingleFlight
from backlotfs.concurrency.workers import Workers
from backlotfs.http.addresses import parse_address

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

    :param resolve: stands in for `socket.getaddrinfo`.
    :raises TimeoutError: not within ``timeout_s``; the look-up goes on without the caller.
    :raises OSError, UnicodeError: the name does not resolve, or is none.
    """
    call = resolve or socket.getaddrinfo
    if resolve is None and parse_address(host) is not None:
        return call(host, port, 0, socket.SOCK_STREAM)  # nothing to wait for
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
