# SPDX-License-Identifier: Apache-2.0
"""A source host of several nodes, each with headers, bytes and manners of its own."""

from __future__ import annotations

import http.server
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate

#: Monday, 7 October 2013: long ago.
OLD_S = 1_381_143_240
#: How long an answer takes if a host has only so many places.
ANSWER_S = 0.02


def http_date(seconds: float) -> str:
    """The usual form of a date in a header."""
    return formatdate(seconds, usegmt=True)


@dataclass(frozen=True)
class Node:
    """What one node answers.

    :ivar etags: its ETag headers. :ivar modified: ``Last-Modified``, or None.
    :ivar date: ``Date``; None: the time of the answer; ``""``: there is none.
    :ivar refuses: answers 412 "right": where ``If-Match`` does not fit, "if-match": where there is
        one, "always", or "never".
    :ivar location: it redirects there instead.
    """

    data: bytes = b""
    etags: tuple[str, ...] = ()
    modified: str | None = http_date(OLD_S)
    date: str | None = None
    refuses: str = "right"
    location: str = ""

    def fails(self, if_match: str | None) -> bool:
        """Whether it answers 412."""
        if self.refuses in ("always", "never"):
            return self.refuses == "always"
        if if_match is None:
            return False
        return self.refuses == "if-match" or if_match not in self.etags


Choice = Callable[[int, int], Node]


def by_request(*nodes: Node) -> Choice:
    """The nodes answer in turn."""
    return lambda request, _connection: nodes[request % len(nodes)]


def by_connection(*nodes: Node) -> Choice:
    """The nodes take connections in turn."""
    return lambda _request, connection: nodes[connection % len(nodes)]


def after(count: int, before: Node, later: Node) -> Choice:
    """One node for so many requests, another one for all others."""
    return lambda request, _connection: before if request < count else later


@dataclass
class NodeHost:
    """Serves ranges of the nodes' data at any path, on a loopback address.

    :ivar choose: which node answers, by the number of the request and of the connection.
    :ivar places: how many requests are answered at once, each after `ANSWER_S`; the others get 503.
        None: all at once.
    :ivar asked: ``If-Match`` of each request. :ivar refused: how many requests got 503.
    """

    choose: Choice
    places: int | None = None
    asked: list[str | None] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        host = self
        self._lock = threading.Lock()
        self._connections = self._taken = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with host._lock:
                    self.number = host._connections
                    host._connections += 1

            def log_message(self, *_arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                host._answer(self, self.number)

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_arguments: object) -> None:
                pass  # the client has closed

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> NodeHost:
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="node-host", daemon=True
        ).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: http.server.BaseHTTPRequestHandler, connection: int) -> None:
        with self._lock:
            if self._taken == self.places:
                self.refused += 1
                _send(handler, 503, [], b"")
                return
            self._taken += 1
            node = self.choose(len(self.asked), connection)
            if_match = handler.headers["If-Match"]
            self.asked.append(if_match)
        try:
            if self.places is not None:
                time.sleep(ANSWER_S)
            self._answer_as(node, handler)
        finally:
            with self._lock:
                self._taken -= 1

    def _answer_as(self, node: Node, handler: http.server.BaseHTTPRequestHandler) -> None:
        if_match = handler.headers["If-Match"]
        first, last = (int(at) for at in handler.headers["Range"].partition("=")[2].split("-"))
        size = len(node.data)
        head: list[tuple[str, str]] = [("ETag", etag) for etag in node.etags]
        if node.modified is not None:
            head.append(("Last-Modified", node.modified))
        if node.date != "":
            head.append(("Date", node.date or http_date(time.time())))
        status, body = 206, node.data[first : last + 1]
        if node.location:
            status, body = 302, b""
            head.append(("Location", node.location))
        elif node.fails(if_match):
            status, body = 412, b""
        elif not body:
            status = 416
            head.append(("Content-Range", f"bytes */{size}"))
        else:
            head.append(("Content-Range", f"bytes {first}-{first + len(body) - 1}/{size}"))
        _send(handler, status, head, body)


def _send(
    handler: http.server.BaseHTTPRequestHandler,
    status: int,
    head: Sequence[tuple[str, str]],
    body: bytes,
) -> None:
    handler.send_response_only(status)
    for name, value in [*head, ("Content-Length", str(len(body)))]:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
