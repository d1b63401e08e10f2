# SPDX-License-Identifier: Apache-2.0
"""A host before an emulator: it passes everything on, or torments its clients in some way."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

from backlotfs.emulator import EmulatedAsset, Emulator
from tests.support.relay import PIECE, Relay

_HEAD = b"HTTP/1.1 206 Partial Content\r\nX-Slow: " + b"0123456789" * 6_000
_BODY = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4095/9999\r\n"
_ERROR = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9000\r\n\r\n"


def _drip(data: Iterable[int]) -> Iterator[bytes]:
    return (bytes((one,)) for one in data)


#: What each torment sends at once, and then piece by piece. A `flood` makes no pauses.
TORMENTS: dict[str, Callable[[], tuple[bytes, Iterator[bytes]]]] = {
    "head": lambda: (b"", _drip(_HEAD)),
    "continue": lambda: (b"", itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "lines": lambda: (b"HTTP/1.1 206 OK\r\n", itertools.repeat(b"X-More: and more\r\n")),
    "continue flood": lambda: (b"", itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 99)),
    "lines flood": lambda: (b"HTTP/1.1 206 OK\r\n", itertools.repeat(b"X-More: " + b"m" * 60_000)),
    "body": lambda: (_BODY + b"Content-Length: 4096\r\n\r\n", _drip(itertools.repeat(65))),
    "chunk size": lambda: (
        _BODY + b"Transfer-Encoding: chunked\r\n\r\n",
        _drip(itertools.repeat(ord("0"))),
    ),
    "chunks": lambda: (
        _BODY + b"Transfer-Encoding: chunked\r\n\r\n",
        itertools.repeat(b"1\r\nA\r\n"),
    ),
    "trailers": lambda: (
        _BODY + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        itertools.repeat(b"X-More: and more\r\n"),
    ),
    "error body": lambda: (_ERROR, _drip(itertools.repeat(65))),
    "silence": lambda: (b"", iter(())),
    "junk": lambda: (b"\x00\xffSSH-2.0 this is no HTTP\r\n" * 40, iter(())),
    # the beginning of a long TLS record: a ServerHello that never ends
    "tls": lambda: (b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb", _drip(itertools.repeat(0))),
}


class HostileHost(Relay):
    """Listens on ``host`` and does to each new request what `torment` last said.

    It begins healthy. Torments under way go on after it has become well.
    """

    def __init__(self, behind_url: str, *, host: str = "127.0.0.1", pause_s: float = 0.2) -> None:
        """``pause_s``: between two pieces."""
        super().__init__(host)
        self.stand_before(behind_url)
        self._pause_s = pause_s
        self._torments: tuple[str, ...] = ()
        self._turn = itertools.count()
        self._over = threading.Event()
        #: Requests, or TLS greetings, that were tormented.
        self.tormented = 0

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        host, port = self.address
        return f"http://{host}:{port}"

    def torment(self, *kinds: str) -> None:
        """From now on do these of `TORMENTS` in turn; none: be well.

        Healthy connections are cut when it turns bad, so that the next request is met by it.
        """
        self._torments = kinds
        if kinds:
            self.hang_up()

    def __exit__(self, *error: object) -> None:
        """Answer no more, and end the torments."""
        self._over.set()
        super().__exit__(*error)

    def serve(self, client: socket.socket) -> None:
        """Torment the first request of a connection, or pass everything on."""
        request = client.recv(PIECE)
        kinds = self._torments
        if not request:
            return
        if kinds:
            self.tormented += 1
            self._harm(client, kinds[next(self._turn) % len(kinds)])
        else:
            self.pass_on(client, request)

    def _harm(self, client: socket.socket, kind: str) -> None:
        first, more = TORMENTS[kind]()
        client.sendall(first)
        for piece in more:
            if not kind.endswith("flood") and self._over.wait(self._pause_s):
                return
            client.sendall(piece)
        if kind != "junk":  # which is over with it
            self._over.wait()


def serve_sources_at(emulator: Emulator, base_url: str, assets: Iterable[EmulatedAsset]) -> None:
    """From now on the URLs that the API gives for these assets begin with ``base_url``."""
    codes = {asset.embed_code for asset in assets}
    sources = emulator._sources
    signed = sources.url

    def elsewhere(asset: EmulatedAsset, base: str) -> str:
        return signed(asset, base_url if asset.embed_code in codes else base)

    sources.url = elsewhere  # type: ignore[method-assign, assignment]
