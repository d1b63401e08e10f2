"""Listening ports, their connections, and the limits that keep one client from using them up.

A connection *waits* for the head of a request, or is *busy* with one. aiohttp ends one that waits
too long, and pauses reading where requests are sent ahead of their answers; the kernel ends one
whose client takes no byte of its answer (``TCP_USER_TIMEOUT``); here a head that is too large or
takes too long is ended. Where there is no room for a new connection, the one that has waited
longest is ended for it; only where all are busy is the new one turned away.
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
"""The kernel's buffer for what a client sends; requests are small."""

RESERVED_DESCRIPTORS = 64
"""Left for everything that is no connection, and no file that one is served from."""

WARNING_INTERVAL_S = 60.0
_FEWEST_CONNECTIONS = 8
_LINGERING_S = 2.0  # reading on after an answer to a body that was not read, so that it arrives
_STOP_GRACE_S = 0.05  # our requests are cancelled before; this is for aiohttp's own bookkeeping
_TURNS_TO_ACCEPT = 4
"""Of the loop, in which asyncio gives its last connection a transport, and the protocol ends it.

Python 3.11 does not close the socket of a connection whose server is closed before that.
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
        """Start without any warning written."""
        self._kinds: dict[str, tuple[float, int]] = {}

    def warning(self, kind: str, text: str) -> None:
        """Write ``text``; where the kind was written in the last minute, only count it.

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
        """Write one line about an error that no request should be able to cause."""
        place = ""
        traceback = error.__traceback__ if error is not None else None
        while traceback is not None:
            file = traceback.tb_frame.f_code.co_filename.rpartition("/")[2]
            place, traceback = f" at {file}:{traceback.tb_lineno}", traceback.tb_next
        self.warning("unexpected", f"internal error while {doing}: {ascii(error)[:200]}{place}")


def connection_limit(wanted: int, *, listeners: int) -> int:
    """How many connections each listener may have, ``wanted`` at most.

    The process has a descriptor for each of them, and for a file that it is served from.
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
        self.task: asyncio.Task[object] | None = None  # that answers a request
        self._listener = listener
        self._settings = settings
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._body: StreamReader | None = None  # of the last request
        self._socket: asyncio.Transport | None = None  # aiohttp forgets its own early

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the listener's connections, or be turned away where there is no room."""
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
        """Hand bytes on to the parser; a head must come in time and not be too large."""
        if self.transport is None:  # turned away, or ended
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
        """A request with this body is about to be answered."""
        self._end_head()
        self.waiting_since, self._body = None, body

    def request_ended(self) -> None:
        """The answer has been sent."""
        self.waiting_since, self.task = time.monotonic(), None

    def abort(self) -> None:
        """End the connection at once, with whatever waits to be sent."""
        if self.task is not None:  # before its socket is closed, which sendfile may wait for
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
        """The answer to what is no HTTP; aiohttp's own would log a traceback for each."""
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
    """A port that hands its requests to a handler. For one event loop."""

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
        # the request of a client that hangs up is cancelled: a stalled one would not end
        self._server = web.Server(
            self._handle, handler_cancellation=True, request_factory=_made_request
        )

    async def listen(self, host: str, port: int) -> int:
        """Accept connections; returns the port (a free one when ``port`` is 0).

        :raises OSError: when the address cannot be bound.
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
            # the backlog here is how many asyncio accepts before it lets others have their turn
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
        await asyncio.sleep(0)  # what was aborted is closed in the loop's next turn

    def join(self, connection: Connection) -> bool:
        """Count a new connection; may end a waiting one for it. False: there is no room."""
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
        """A connection is over."""
        same = self._connections.get(connection.address, set())
        same.discard(connection)
        if not same:
            self._connections.pop(connection.address, None)

    def _end_longest_waiting(self, clients: Iterable[set[Connection]]) -> bool:
        """End the connection that has waited longest, of the client with most waiting ones."""
        waiting = [[one for one in some if one.waiting_since is not None] for some in clients]
        most = max(waiting, key=len, default=[])
        if not most:
            return False
        longest = min(most, key=lambda one: one.waiting_since or 0.0)
        self.leave(longest)  # counted no more, though its socket closes in the loop's next turn
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
            # a client that went away is no fault of ours; aiohttp would log a traceback
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
        reason = f"cannot bind to {address[0]} port {address[1]}: {error.strerror}"
        raise OSError(error.errno, reason) from None
    return listening
