"""Connections to source hosts, whose addresses are checked at the moment they are connected to.

A name is resolved once; each address that came out is put to the `SourcePolicy`, and only those
are connected to: a name that resolves differently a moment later (DNS rebinding) gains nothing.
No proxy, no ``.netrc``, nothing of the environment.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Sequence

from backlotfs.http.address_policy import SourcePolicy, SourceRefused
from backlotfs.http.resolver import AddressInfo, Resolve, look_up

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
        """Dial, and speak TLS where it was asked for."""
        self.sock = self._dialer.dial(self.host, self.port, self._timeout_s)
        if self._tls is not None:
            name = self.host.removesuffix(".")  # no certificate has the dot of an absolute name
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=name)
