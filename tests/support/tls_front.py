"""TLS before an emulator, which speaks none: whatever certificate a test wants is shown."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from types import TracebackType
from urllib.parse import urlsplit

import trustme

_PIECE = 64 * 1024


class TlsFront:
    """Listens on a port of this machine and passes on what it is told, once a client trusts it.

    A context manager. Its certificate, and what is behind it, may change between connections.
    """

    def __init__(self) -> None:
        """Nobody is behind it yet, and it proves nothing."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._behind = ("127.0.0.1", 0)
        self._certificate: trustme.LeafCert | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._trusted = 0

    @property
    def url(self) -> str:
        """Where it is; a certificate for ``localhost`` is the right one."""
        return f"https://localhost:{self._listener.getsockname()[1]}"

    @property
    def trusted(self) -> int:
        """How many handshakes a client has brought to their end."""
        return self._trusted

    def stand_before(self, url: str) -> None:
        """Pass on to this host and port from now on."""
        parts = urlsplit(url)
        self._behind = (str(parts.hostname), int(parts.port or 80))

    def show(self, certificate: trustme.LeafCert) -> None:
        """Prove this from now on; every connection there is ends."""
        self._certificate = certificate
        self.hang_up()

    def hang_up(self) -> None:
        """End every connection."""
        with self._lock:
            ending, self._open = self._open, set()
        for end in ending:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> TlsFront:
        """Begin to answer."""
        threading.Thread(target=self._accept, name="tls-front", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert self._certificate is not None
        self._certificate.configure_cert(context)
        try:
            client = context.wrap_socket(raw, server_side=True)
            self._trusted += 1
            server = socket.create_connection(self._behind)
        except OSError:
            raw.close()
            return
        with client, server:
            with self._lock:
                self._open |= {client, server}
            back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
            back.start()
            _pass_on(client, server)
            back.join()
            with self._lock:
                self._open -= {client, server}


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Everything, to the end of either."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
