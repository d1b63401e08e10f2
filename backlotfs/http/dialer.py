"""Connections to source hosts, whose addresses are checked at the moment they are connected to.

A name is resolved once; each address that came out is put to the `SourcePolicy`, and only those
are connected to: a name that resolves differently a moment later (DNS rebinding) gains nothing.
No proxy, no ``.netrc``, nothing of the environment.

`socket.getaddrinfo` cannot be interrupted and takes as long as the system's resolver likes: half a
minute and more, where a name server is silent. So it runs on threads of its own, one look-up of a
name at a time, and a caller waits no longer than it may.
"""

from __future__ import annotations

import functools
import http.client
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from backlotfs.concurrency.single_flight import SingleFlight
from backlotfs.concurrency.workers import Workers
from backlotfs.errors import SettingsError
from backlotfs.http.address_policy import SourcePolicy, SourceRefused, parse_address


@functools.cache  # a system has hundreds of authorities: reading them takes 27 ms each time
def client_context(ca_bundle: str | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer, towards hosts that can prove their names. Shared by all threads.

    :param ca_bundle: PEM file of the authorities to trust *instead of* the system's. On a system
        that has none, those that come with `requests` stand in.
    :raises SettingsError: when it cannot be read or holds no certificate.
    """
    if ca_bundle is None:
        context = ssl.create_default_context()
        if not _has_authorities():
            context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    else:
        try:
            context = ssl.create_default_context(cafile=ca_bundle)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            why = getattr(error, "strerror", None)
            reason = "holds no certificate" if isinstance(error, ssl.SSLError) else why
            raise SettingsError(f"the CA file {ca_bundle} {reason or 'cannot be read'}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _has_authorities() -> bool:
    # a folder of certificates is read name by name, when one is needed: no counting beforehand
    paths = ssl.get_default_verify_paths()
    return any(path is not None and os.path.exists(path) for path in (paths.cafile, paths.capath))


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


#: Seconds for the look-up of the API host's name, when its addresses are to vouch for a source.
API_LOOK_UP_S = 2.0
# sockets take 0 for "do not wait at all"
_LEAST_TIMEOUT_S = 0.001


def connect_to_any(addresses: Sequence[AddressInfo], until_s: float) -> socket.socket:
    """A TCP socket, connected to the first address that answers; its timeout is what time is left.

    :param until_s: on the monotonic clock, for all addresses together. Each has an equal part of
        what is left, so that one that is silent (IPv6 without a way out) leaves time for the next.
    :raises OSError: the last address's error; TimeoutError when the time is over.
    """
    failed: OSError | None = None
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no address of the host answered in time")
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError as error:  # the kernel does not know the family: IPv6 is switched off
            failed = error
            continue
        try:
            opened.settimeout(left_s / (len(addresses) - number))
            opened.connect(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # a TLS handshake has what is left
            opened.settimeout(max(_LEAST_TIMEOUT_S, until_s - time.monotonic()))
        except OSError as error:
            opened.close()
            failed = error
        else:
            return opened
    raise failed or OSError("the host has no address")


class Dialer:
    """Connects to source hosts. Any thread may call it; it holds no lock."""

    def __init__(
        self, policy: SourcePolicy, tls: ssl.SSLContext, *, resolve: Resolve | None = None
    ) -> None:
        """``resolve``: stands in for `socket.getaddrinfo`."""
        self._policy = policy
        self._tls = tls
        self._resolve = resolve
        self._api_addresses: frozenset[str] = frozenset()

    def connect(
        self, scheme: str, host: str, port: int, *, timeout_s: float
    ) -> http.client.HTTPConnection:
        """A new connection, TLS spoken and the host name verified if ``scheme`` is ``https``.

        :param timeout_s: for the look-up of the name, all addresses of the host and TLS together.
        :raises SourceRefused: the policy allows none of its addresses; nothing was sent.
        :raises OSError, ValueError: unresolvable, refused, unreachable, too slow, not trusted.
        """
        tls = self._tls if scheme == "https" else None
        connection = _Connection(self, host, port, tls, timeout_s)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def dial(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connected TCP socket; errors as for `connect`."""
        until = time.monotonic() + timeout_s
        refused: SourceRefused | None = None
        allowed: list[AddressInfo] = []
        for found in look_up(host, port, timeout_s, resolve=self._resolve):
            try:
                self._policy.check(host, str(found[4][0]), self._api)
            except SourceRefused as error:
                refused = error
            else:
                allowed.append(found)
        if refused is not None and not allowed:
            raise refused
        return connect_to_any(allowed, until)

    def _api(self) -> frozenset[str]:
        """The API host's addresses; looked up at the first source that needs it to vouch."""
        if not self._api_addresses:
            try:
                found = look_up(self._policy.api_host, 0, API_LOOK_UP_S, resolve=self._resolve)
            except (OSError, ValueError):
                return frozenset()  # it vouches for nothing, until it resolves again
            self._api_addresses = frozenset(str(address[0]) for *_, address in found)
        return self._api_addresses


class _Connection(http.client.HTTPConnection):
    """As the library's own, but for how it connects, now and after the host hung up."""

    def __init__(
        self, dialer: Dialer, host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float
    ) -> None:
        # without a proxy's tunnel there is nothing else that the library would do here
        self.default_port = http.client.HTTPS_PORT if tls is not None else http.client.HTTP_PORT
        super().__init__(host, port, timeout=timeout_s)
        self._dialer = dialer
        self._tls = tls
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect by the dialer, and speak TLS where it was asked for."""
        self.sock = self._dialer.dial(self.host, self.port, self._timeout_s)
        if self._tls is not None:
            name = self.host.removesuffix(".")  # no certificate has the dot of an absolute name
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=name)
