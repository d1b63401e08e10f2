# SPDX-License-Identifier: Apache-2.0
"""Makes connections to source hosts, and checks their addresses just before connecting.

A name is resolved once. The `SourcePolicy` checks each of its addresses, and only allowed addresses
are connected to. So a name that resolves differently a moment later (DNS rebinding) does not evade
the check. A proxy resolves names by itself, so with a proxy only the name is checked. Neither a
``.netrc`` nor a proxy of the environment is used.
"""

from __future__ import annotations

import http.client
import os
import ssl
import threading
import time
from collections.abc import Callable

from cachetools import cached

from backlotfs.config.proxy import Proxy
from backlotfs.config.time_limits import API_LOOK_UP_S
from backlotfs.errors import SettingsError
from backlotfs.http.address_policy import SourcePolicy, SourceRefused
from backlotfs.http.connecting import (
    AddressInfo,
    Connected,
    Peer,
    Resolve,
    connect_to_any,
    look_up,
)
from backlotfs.http.proxy_tunnel import ascii_host, connect_through


# A system has hundreds of authorities: reading them takes 27 ms each time.
@cached({}, condition=threading.Condition())
def client_context(ca_bundle: str | None = None) -> ssl.SSLContext:
    """A context for TLS 1.2 or newer that verifies host names. Shared by all threads.

    :param ca_bundle: PEM file of the authorities to trust *instead of* the system's. None: those of
        the system, or those of `requests` if the system has none.
    :raises SettingsError: when it cannot be read or holds no certificate.
    """
    if ca_bundle is None:
        context = ssl.create_default_context()
        if not _has_authorities():
            from requests.utils import DEFAULT_CA_BUNDLE_PATH  # late: it takes 0.1 s

            context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    else:
        try:
            context = ssl.create_default_context(cafile=ca_bundle)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            why = getattr(error, "strerror", None)
            reason = "holds no certificate" if isinstance(error, ssl.SSLError) else why
            raise SettingsError(
                f"the CA file {ca_bundle}: {reason or 'cannot be read'}; name a PEM file with the "
                "certificates of authorities"
            ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_ca_bundle(ca_bundle: str | None) -> None:
    """Read a CA bundle now, if one is named. :raises SettingsError: see `client_context`."""
    if ca_bundle is not None:
        client_context(ca_bundle)


def _has_authorities() -> bool:
    # certificates in a folder are read only when they are needed, so none are counted here
    paths = ssl.get_default_verify_paths()
    return any(path is not None and os.path.exists(path) for path in (paths.cafile, paths.capath))


class Dialer:
    """Connects to source hosts. Any thread may call it; it holds no lock.

    :ivar proxy: all connections go through it; None: they are direct.
    """

    def __init__(
        self,
        policy: SourcePolicy,
        tls: Callable[[], ssl.SSLContext],
        *,
        proxy: Proxy | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        """Connect nothing yet.

        :param tls: called for each ``https`` connection, so that authorities are read only then.
        :param resolve: used instead of `socket.getaddrinfo`.
        """
        self.proxy = proxy
        self._policy = policy
        self._tls = tls
        self._resolve = resolve
        self._api_addresses: frozenset[str] = frozenset()

    def connect(
        self, scheme: str, host: str, port: int, *, timeout_s: float, another: bool = False
    ) -> SourceConnection:
        """A new connection; for ``https``, TLS is set up and the host name is verified.

        :param timeout_s: for the look-up of the name, all addresses of the host and TLS together.
        :param another: prefer another address than that of the last connection.
        :raises SourceRefused: the policy allows none of its addresses; nothing was sent.
        :raises ProxyFailed: the proxy did not connect; an `OSError`.
        :raises OSError, ValueError: unresolvable, refused, unreachable, too slow, not trusted.
        """
        tls = self._tls() if scheme == "https" else None
        connection = SourceConnection(self, host, port, tls, timeout_s)
        try:
            connection.connect(another=another)
        except BaseException:
            connection.close()
            raise
        return connection

    def dial(self, host: str, port: int, timeout_s: float, *, another: bool = False) -> Connected:
        """A connected TCP socket; errors as for `connect`."""
        if self.proxy is not None:
            self._policy.check_name(ascii_host(host))
            sock = connect_through(self.proxy, host, port, timeout_s, resolve=self._resolve)
            return Connected(sock, None)
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
        return connect_to_any(host, allowed, until, another=another)

    def _api(self) -> frozenset[str]:
        """The API host's addresses; looked up when the policy needs them for the first time."""
        if not self._api_addresses:
            try:
                found = look_up(self._policy.api_host, 0, API_LOOK_UP_S, resolve=self._resolve)
            except (OSError, ValueError):
                return frozenset()  # only public addresses are allowed until it resolves
            self._api_addresses = frozenset(str(address[0]) for *_, address in found)
        return self._api_addresses


class SourceConnection(http.client.HTTPConnection):
    """An `HTTPConnection` that connects by a `Dialer`, also after the host closed it.

    :ivar unproven: the connected address until it has answered a request, then None. Always None if
        the host has only one address, or if a proxy is used.
    """

    def __init__(
        self, dialer: Dialer, host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float
    ) -> None:
        # without a proxy's tunnel there is nothing else that the library would do here
        self.default_port = http.client.HTTPS_PORT if tls is not None else http.client.HTTP_PORT
        super().__init__(host, port, timeout=timeout_s)
        self._dialer = dialer
        self._tls = tls
        self._timeout_s = timeout_s
        self.unproven: Peer | None = None

    def connect(self, *, another: bool = False) -> None:
        """Connect by the dialer, and set up TLS if the scheme is ``https``."""
        self.sock, self.unproven = self._dialer.dial(
            self.host, self.port, self._timeout_s, another=another
        )
        if self._tls is None:
            return
        name = self.host.removesuffix(".")  # names in certificates do not end with a dot
        try:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=name)
        except OSError:
            self.distrust()
            raise

    def distrust(self) -> None:
        """Try the host's other addresses first from now on: this one did not answer."""
        if self.unproven is not None:
            self.unproven.distrust()
