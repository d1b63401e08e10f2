# SPDX-License-Identifier: Apache-2.0
"""Listening ports, their connections, and limits so that one client cannot use all of them.

A connection *waits* for the head of a request, or is *busy* with a request. aiohttp closes a
connection that waits too long, and stops reading while a client sends requests before it has its
answers. The kernel closes a connection whose client receives nothing (``TCP_USER_TIMEOUT``). This
module closes a connection whose head is too large or takes too long. If there is no room for a new
connection, it closes a waiting one: of the client with the most waiting connections, the one that
has waited longest. If all connections are busy, the new one is refused.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from backlotfs.emulator.settings import EmulatorSettings

MAX_LINE_BYTES = 64 * 1024  # a where clause with a few hundred embed codes
MAX_HEAD_BYTES = MAX_LINE_BYTES + 32 * 1024
MAX_BODY_BYTES = 64 * 1024
RECEIVE_BUFFER_BYTES = 64 * 1024
"""Size of the kernel's receive buffer; requests are small."""

RESERVED_DESCRIPTORS = 64
"""Descriptors for everything except connections and the files that they serve."""

WARNING_INTERVAL_S = 60.0
_FEWEST_CONNECTIONS = 8
_LINGERING_S = 2.0  # time to read the rest of a body after an answer, so that the answer arrives
_STOP_GRACE_S = 0.05  # for aiohttp's own tasks; requests are cancelled before
_TURNS_TO_ACCEPT = 4
"""Turns of the loop in which asyncio makes the transports of accepted connections.

Python 3.11 does not close the socket of a connection if its server is closed before that.
"""
_BACKLOG = 1024
_ACCEPTED_AT_ONCE = 16
_LONGEST_REASON = 200
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_logger = logging.getLogger("backlotfs.emulator")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ThrottledLog:
    """Writes one warning per kind and minute, so that no client can fill a disk. For one thread."""

    def __init__(self) -> None:
        """Start without a warning."""
        self._kinds: dict[str, tuple[float, int]] = {}

    def warning(self, kind: str, text: str) -> None:
        """Write ``text``, or only count it if the kind was written in the last minute.

        :param kind: one of a few fixed words.
        """
        now = time.monotonic()
        written, unwritten = self._kinds.get(kind, (now - WARNING_INTERVAL_S, 0))
        if now - written < WARNING_INTERVAL_S:
            self._kinds[kind] = (written, unwritten + 1)
            return
        self._kinds[kind] = (now, 0)
        again = f" ({unwritten} more in the last minute)" if unwritten else ""
        _logger.warning("%s%s", text, again)

    def unexpected(self, doing: str, error: BaseException | None) -> None:
        """Write one line about an internal error."""
        place = ""
        traceback = error.__traceback__ if error is not None else None
        while traceback is not None:
            file = traceback.tb_frame.f_code.co_filename.rpartition("/")[2]
            place, traceback = f" at {file}:{traceback.tb_lineno}", traceback.tb_next
        self.warning("unexpected", f"internal error while {doing}: {ascii(error)[:200]}{place}")


def connection_limit(wanted: int, *, listeners: int) -> int:
    """The number of connections of each listener: ``wanted``, or fewer if descriptors are limited.

    Each connection may take two descriptors of the process: its own, and that of a file.
    """
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(_FEWEST_CONNECTIONS, min(wanted, (soft - RESERVED_DESCRIPTORS) // 2 // listeners))


class Connection(web.RequestHandler):
    """One connection of a client. For one event loop."""

    def __init__(self, listener: Listener, server: web.Server, settings: EmulatorSettings) -> None:
        """Belong to ``listener``."""
        super().__init__(
            server, loop=asyncio.get_running_loop(), keepalive_timeout=settings.idle_timeout_s,
            max_line_size=MAX_LINE_BYTES, lingering_time=_LINGERING_S, auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # that is how it is switched off
        )  # fmt: skip  # aiohttp's options in a few lines
        self.address = ""
        self.waiting_since: float | None = time.monotonic()  # None: busy with a request
        self.task: asyncio.Task[object] | None = None  # answers a request
        self._listener = listener
        self._settings = settings
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._body: StreamReader | None = None  # of the last request
        self._socket: asyncio.Transport | None = None  # aiohttp clears `transport` too early

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the listener's connections, or refuse the connection if there is no room."""
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport
        if self._listener.closing:
            transport.abort()
            return
        self.address = str(transport.get_extra_info("peername")[0])
        if not self._listener.join(self):
            transport.write(_BUSY)
            transport.close()
            return
        taken_ms = max(1, int(self._settings.send_timeout_s * 1000))
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, taken_ms)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave the listener's connections."""
        self._end_head()
        self._listener.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser; limit the time and the size of a head."""
        if self.transport is None:  # refused or closed
            return
        if data and not self._messages and (self._body is None or self._body.is_eof()):
            self._head_bytes += len(data)
            if self._head_timer is None and self.waiting_since is not None:
                loop, limit = asyncio.get_running_loop(), self._settings.head_timeout_s
                self._head_timer = loop.call_later(limit, self.abort)
        super().data_received(data)
        if self._messages:
            self._end_head()
        elif self._head_bytes > MAX_HEAD_BYTES:
            self.transport.write(_HEAD_TOO_LARGE)
            self.force_close()

    def request_began(self, body: StreamReader) -> None:
        """Note that a request begins; ``body`` is its body."""
        self._end_head()
        self.waiting_since, self._body = None, body

    def request_ended(self) -> None:
        """Note that the answer was sent."""
        self.waiting_since, self.task = time.monotonic(), None

    def abort(self) -> None:
        """Close the connection at once, without sending what is queued."""
        if self.task is not None:  # before the socket is closed, because sendfile may wait for it
            self.task.cancel()
        self.force_close()
        if self._socket is not None:
            self._socket.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to invalid HTTP. The method of aiohttp would log a traceback each time."""
        response = web.Response(status=status, text=f"{(message or 'error')[:_LONGEST_REASON]}\n")
        response.force_close()
        if status != 400 and exc is not None:
            self._listener.log.unexpected("answering a request", exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had been begun")
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an exception in one line, without a traceback."""
        error = kw.get("exc_info")
        if not isinstance(error, BaseException):
            error = RuntimeError(*args[:1])
        self._listener.log.unexpected("serving a connection", error)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer, self._head_bytes = None, 0


class Listener:
    """A port that passes its requests to a handler. For one event loop."""

    def __init__(
        self, handler: Handler, settings: EmulatorSettings, *, limit: int, log: ThrottledLog
    ) -> None:
        """Nothing listens yet.

        :param limit: the most connections at once.
        """
        self.log = log
        self.closing = False
        self._handler = handler
        self._limit = limit
        self._per_address = min(settings.max_connections_per_address, max(4, limit // 2))
        self._settings = settings
        self._connections: dict[str, set[Connection]] = {}  # by client address
        self._servers: list[asyncio.Server] = []
        # a request is cancelled when its client disconnects; a stalled request would never end
        self._server = web.Server(
            self._handle, handler_cancellation=True, request_factory=_made_request
        )

    async def listen(self, host: str, port: int) -> int:
        """Accept connections; return the port (a free one if ``port`` is 0).

        :raises OSError: the address cannot be bound.
        """
        infos = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        sockets: list[socket.socket] = []
        try:
            for family, _, _, _, address in dict.fromkeys(infos):
                sockets.append(_bound(family, (address[0], port, *address[2:])))
                port = int(sockets[0].getsockname()[1])
        except OSError:
            for one in sockets:
                one.close()
            raise
        loop = asyncio.get_running_loop()
        for one in sockets:
            # this backlog is the number of connections that asyncio accepts in one turn
            server = await loop.create_server(self._connection, sock=one, backlog=_ACCEPTED_AT_ONCE)
            one.listen(_BACKLOG)
            self._servers.append(server)
        return port

    async def close(self) -> None:
        """Stop listening, cancel requests, abort connections."""
        self.closing = True
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listening in server.sockets:  # accept no more
                loop.remove_reader(listening.fileno())
        for _ in range(_TURNS_TO_ACCEPT):
            await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        connections = [one for some in self._connections.values() for one in some]
        tasks = [one.task for one in connections if one.task is not None]
        for connection in connections:
            connection.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.shutdown(_STOP_GRACE_S)
        await asyncio.sleep(0)  # aborted connections are closed in the next turn of the loop

    def join(self, connection: Connection) -> bool:
        """Count a new connection, and close a waiting one if needed; False if there is no room."""
        address = connection.address
        same = self._connections.get(address, set())
        if len(same) >= self._per_address:
            text = f"{address} has {self._per_address} connections open, the most for one address"
            self.log.warning("address", text)
            if not self._end_longest_waiting([same]):
                return False
        elif sum(map(len, self._connections.values())) >= self._limit:
            text = f"{self._limit} connections are open, the most at once"
            self.log.warning("connections", text)
            if not self._end_longest_waiting(self._connections.values()):
                return False
        self._connections.setdefault(address, set()).add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Remove a connection."""
        same = self._connections.get(connection.address, set())
        same.discard(connection)
        if not same:
            self._connections.pop(connection.address, None)

    def _end_longest_waiting(self, clients: Iterable[set[Connection]]) -> bool:
        """Close the connection that has waited longest, of the client with the most of them."""
        waiting = [[one for one in some if one.waiting_since is not None] for some in clients]
        most = max(waiting, key=len, default=[])
        if not most:
            return False
        longest = min(most, key=lambda one: one.waiting_since or 0.0)
        self.leave(longest)  # now, although its socket is closed in the next turn of the loop
        longest.abort()
        return True

    def _connection(self) -> Connection:
        return Connection(self, self._server, self._settings)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.task = asyncio.current_task()
        try:
            return await self._handler(request)
        except (ConnectionError, TimeoutError) as error:
            # the client disconnected; aiohttp would log a traceback
            raise asyncio.CancelledError from error
        finally:
            connection.request_ended()


def _made_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: Any,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    assert isinstance(protocol, Connection)
    protocol.request_began(payload)
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES
    )


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, error.strerror, f"{address[0]} port {address[1]}") from None
    return listening
