# SPDX-License-Identifier: Apache-2.0
"""Answers scrapes of Prometheus at the address of ``mount --metrics``, by prometheus-client.

The server answers every client that can reach its address. The number of connections and the time
of each silence are limited, so a scraper that hangs costs the mount little.
"""

from __future__ import annotations

import os
import socket
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from backlotfs.config.listen_address import ListenAddress
from backlotfs.errors import SettingsError, install_extra

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

#: Largest number of connections at the same time; further ones are closed immediately.
MOST_CONNECTIONS = 8
#: A connection without data for this time is closed.
SILENCE_S = 10.0
#: Time between two checks of the server thread for its end. An unmount waits at most this long.
_STOP_WITHIN_S = 0.05


def check_installed() -> None:
    """:raises SettingsError: prometheus-client is not installed."""
    try:
        import prometheus_client  # noqa: F401  # whether it is there is all that matters
    except ModuleNotFoundError:
        how = install_extra("metrics")
        raise SettingsError(f"--metrics needs an extra; install it: {how}") from None


class _Server(ThreadingHTTPServer):
    """Serves at most `MOST_CONNECTIONS` at a time."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, handler: Any) -> None:
        """Use and own ``listener``, a socket that listens."""
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()  # the base class made this socket, which is not used
        self.socket = listener
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a new thread; if there are too many connections, close this one."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, then release the place of the connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a broken connection; the base class would write to stderr."""


class MetricsServer:
    """Answers scrapes at one address, from `start` to `close`."""

    def __init__(self, address: ListenAddress, collector: Collector) -> None:
        """Listen; no request is answered before `start`.

        :param collector: collects the current metrics; called for each scrape, on any thread.
        :raises SettingsError: it cannot listen at this address.
        """
        from prometheus_client import CollectorRegistry, MetricsHandler, ProcessCollector

        registry = CollectorRegistry()
        registry.register(collector)
        ProcessCollector(registry=registry)
        handler = MetricsHandler.factory(registry)
        handler.timeout = SILENCE_S
        self._server = _Server(_listen(address), handler)

    @property
    def address(self) -> ListenAddress:
        """The address of the listening socket; for port 0, with the port that the system chose."""
        return ListenAddress(*self._server.socket.getsockname()[:2])

    def start(self) -> None:
        """Start the thread that accepts connections."""
        threading.Thread(
            target=self._server.serve_forever, args=(_STOP_WITHIN_S,), name="metrics", daemon=True
        ).start()

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._server.shutdown()
        self._server.server_close()


def _listen(address: ListenAddress) -> socket.socket:
    """:raises SettingsError: the process cannot listen at this address."""
    everywhere = not address.host
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    dual = everywhere and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            (address.host, address.port),
            family=socket.AF_INET6 if dual else family,
            dualstack_ipv6=dual,
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # create_server adds the address to the error's own
        raise SettingsError(
            f"--metrics cannot listen on {address} ({reason}); name another address"
        ) from None
