"""Listening ports, their connections, and the limits that keep one client from using them up."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import resource
import socket
import struct
import termios
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Any

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from backlotfs.emulator.settings import EmulatorSettings

INTERVAL_S = 60.0
_logger = logging.getLogger("backlotfs.emulator")


class QuietLog:
    """Writes at most one line per kind and minute. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._lock = Lock()
        self._kinds: dict[str, tuple[float, int]] = {}

    def once_a_minute(self, kind: str, text: str) -> None:
        """Write ``text`` unless the kind was written in the last minute; then only count it.

        :param kind: one of a few fixed words.
        """
        with self._lock:
            now = self._clock()
            written, unwritten = self._kinds.get(kind, (now - INTERVAL_S, 0))
            if now - written < INTERVAL_S:
                self._kinds[kind] = (written, unwritten + 1)
                return
            self._kinds[kind] = (now, 0)
        again = f" ({unwritten} more in the last minute)" if unwritten else ""
        _logger.warning("%s%s", text, again)

    def unexpected(self, doing: str, error: BaseException) -> None:
        """Write one line about an error that no request should be able to cause."""
        place = ""
        traceback = error.__traceback__
        while traceback is not None:
            code = traceback.tb_frame.f_code
            place = f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno}"
            traceback = traceback.tb_next
        text = repr(error)[:200].encode("ascii", "backslashreplace").decode()
        self.once_a_minute("unexpected", f"internal error while {doing}: {text} at {place}")


MAX_LINE_BYTES = 64 * 1024  # a where clause with a few hundred embed codes
MAX_HEAD_BYTES = MAX_LINE_BYTES + 32 * 1024
RECEIVE_BUFFER_BYTES = 64 * 1024
"""The kernel's buffer for what a client sends; requests are small."""

RESERVED_DESCRIPTORS = 64
"""Left for everything that is no connection, and no file that one is served from."""

_FEWEST_CONNECTIONS = 8
_LINGERING_S = 2.0  # reading on after an answer to a body that was not read, so that it arrives
_STOP_GRACE_S = 0.05  # our requests are cancelled before; this is for aiohttp's own bookkeeping
_SWEEP_S = 1.0
_BACKLOG = 1024
_LONGEST_REASON = 200
_ACCEPTED_AT_ONCE = 16
_BACK_OFF_S = 1.0
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BYTES_ACKED = struct.Struct("@120xQ")  # tcpi_bytes_acked of struct tcp_info, since Linux 4.1
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


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

    def __init__(
        self, listener: Listener, server: web.Server, address: str, **options: Any
    ) -> None:
        """Belong to ``listener``; ``options`` are aiohttp's."""
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.address = address
        self.waiting_since: float | None = time.monotonic()  # None: busy with a request
        self._listener = listener
        self._head_began: float | None = None
        self._head_bytes = 0
        self._body: StreamReader | None = None  # of the request that is being answered
        self._sent_ahead = bytearray()
        self._acked = 0
        self._acked_at = time.monotonic()
        self._own_transport: asyncio.WriteTransport | None = None  # aiohttp forgets its own early
        self._task: asyncio.Task[object] | None = None  # that answers a request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the listener's connections."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._own_transport = transport
        self._listener.joined(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave them."""
        self._listener.left(self)
        self._sent_ahead.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand bytes on to the parser, unless they belong to a request whose turn has not come."""
        if data and self._must_wait():  # no data: aiohttp has its parser go on
            self._sent_ahead += data
            if self.transport is not None:
                self.transport.pause_reading()
            return
        if self.waiting_since is not None and self._at_end_of_body():
            if self._head_began is None:
                self._head_began = time.monotonic()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._messages:
            self._head_began, self._head_bytes = None, 0
        elif self._head_bytes > MAX_HEAD_BYTES:
            self.refuse(_HEAD_TOO_LARGE)

    def request_began(self, body: StreamReader) -> None:
        """A request is about to be answered."""
        self.waiting_since = None
        self._head_began, self._head_bytes = None, 0
        self._body = body
        self._let_through()

    def answering(self, task: asyncio.Task[object] | None) -> None:
        """``task`` works on the answer."""
        self._task = task

    def request_ended(self) -> None:
        """Its answer has been sent."""
        self._task = None
        self.waiting_since = time.monotonic()
        self._let_through()

    def overdue(self, now: float, settings: EmulatorSettings) -> bool:
        """Whether the client has taken too long: for a head, for its next request, to read."""
        if self._head_began is not None:
            return now - self._head_began > settings.head_timeout_s
        if self.waiting_since is not None and now - self.waiting_since > settings.idle_timeout_s:
            return True
        return self._is_stuck(now, settings.send_timeout_s)

    def refuse(self, answer: bytes) -> None:
        """Send this and end the connection."""
        if self.transport is not None:
            self.transport.write(answer)
        self.force_close()

    def abort(self) -> None:
        """End the connection at once, with whatever waits to be sent."""
        if self._task is not None:  # before its socket is closed, which sendfile may wait for
            self._task.cancel()
        self.force_close()
        if self._own_transport is not None:
            self._own_transport.abort()

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
        """One line instead of a traceback."""
        error = kw.get("exc_info")
        if not isinstance(error, BaseException):
            error = RuntimeError(str(args[0]) if args else "")
        self._listener.log.unexpected("serving a connection", error)

    def _at_end_of_body(self) -> bool:
        return self._body is None or self._body.is_eof()

    def _must_wait(self) -> bool:
        """Whether what arrives now is a request behind one that is still to be answered."""
        return bool(self._messages) or (self.waiting_since is None and self._at_end_of_body())

    def _let_through(self) -> None:
        """Hand on what was sent ahead, now that its turn may have come."""
        if not self._sent_ahead or self._must_wait() or self.transport is None:
            return
        data = bytes(self._sent_ahead)
        self._sent_ahead.clear()
        # before the parser gets the bytes: it may pause the reading again
        self.transport.resume_reading()
        self.data_received(data)

    def _is_stuck(self, now: float, limit_s: float) -> bool:
        """Whether bytes have waited for the client for ``limit_s`` without one being taken."""
        if self._own_transport is None:
            return False
        peer = self._own_transport.get_extra_info("socket")
        try:
            queued = fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, bytes(4))
            info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
            (acked,) = _BYTES_ACKED.unpack(info)
        except (OSError, ValueError, struct.error):  # just closed; or a kernel without the count
            return False
        if acked != self._acked or queued == bytes(4):
            self._acked, self._acked_at = acked, now
        return now - self._acked_at > limit_s


class Listener:
    """A port that hands its requests to a handler. For one event loop."""

    def __init__(
        self, handler: Handler, settings: EmulatorSettings, *, limit: int, log: QuietLog
    ) -> None:
        """Nothing listens yet.

        :param limit: the most connections at once.
        :param log: for what clients do that should not fill a disk.
        """
        self._handler = handler
        self._settings = settings
        self.log = log
        self._running: set[asyncio.Task[object]] = set()
        self._arriving: set[asyncio.Task[None]] = set()
        self._connections: dict[str, set[Connection]] = {}  # by client address
        self._counts: Counter[str] = Counter()  # by client address, those that arrive included
        self._limit = limit
        self._sockets: list[socket.socket] = []
        self._sweeping: asyncio.TimerHandle | None = None
        # a client that hangs up cancels its request: a stalled one must not outlive it
        self._server = web.Server(
            self._handle, handler_cancellation=True, request_factory=self._request
        )

    async def listen(self, host: str, port: int) -> int:
        """Accept connections; returns the port (a free one when ``port`` is 0).

        :raises OSError: when the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        infos = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, _, _, _, address in dict.fromkeys(infos):
                self._sockets.append(_bound(family, (address[0], port, *address[2:])))
                port = int(self._sockets[0].getsockname()[1])
        except OSError:
            for listening in self._sockets:
                listening.close()
            raise
        for listening in self._sockets:
            loop.add_reader(listening, self._accept, listening)
        self._sweeping = loop.call_later(_SWEEP_S, self._sweep)
        return port

    async def close(self) -> None:
        """Stop listening, cancel requests, abort connections."""
        loop = asyncio.get_running_loop()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        await asyncio.gather(*self._arriving, return_exceptions=True)
        connections = [one for some in self._connections.values() for one in some]
        # taken now: a cancelled request loses its transport, unsent bytes and all
        transports = [one.transport for one in connections]
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for transport in transports:
            if transport is not None:
                transport.abort()
        await self._server.shutdown(_STOP_GRACE_S)
        await asyncio.sleep(0)  # what was aborted is closed in the loop's next turn

    def joined(self, connection: Connection) -> None:
        """A connection is made."""
        self._connections.setdefault(connection.address, set()).add(connection)

    def left(self, connection: Connection) -> None:
        """A connection is over."""
        same = self._connections.get(connection.address, set())
        if connection in same:
            same.discard(connection)
            self._uncount(connection.address)
            if not same:
                del self._connections[connection.address]

    def _uncount(self, address: str) -> None:
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    return  # the fault of that one connection, as accept(2) says
                self.log.once_a_minute("resources", f"cannot accept connections: {error.strerror}")
                self._end_longest_waiting(None)
                loop.remove_reader(listening)
                loop.call_later(_BACK_OFF_S, self._resume, listening)
                return
            self._admit(accepted, str(peer[0]))

    def _admit(self, accepted: socket.socket, address: str) -> None:
        """Make a connection of an accepted socket, or turn it away."""
        loop = asyncio.get_running_loop()
        if not self._sockets:  # closed meanwhile
            accepted.close()
        elif self._has_room(address):
            self._counts[address] += 1
            task = loop.create_task(self._arrive(accepted, address))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)
        elif self._arriving:  # those may soon be ones that can be ended for it
            loop.call_soon(self._admit, accepted, address)
        else:
            _turn_away(accepted)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    async def _arrive(self, accepted: socket.socket, address: str) -> None:
        accepted.setblocking(False)

        def connection() -> Connection:
            return Connection(
                self, self._server, address, max_line_size=MAX_LINE_BYTES, access_log=None,
                lingering_time=_LINGERING_S, auto_decompress=False,
            )  # fmt: skip  # aiohttp's options in two lines

        try:
            await asyncio.get_running_loop().connect_accepted_socket(connection, accepted)
        except OSError:
            self._uncount(address)
            accepted.close()

    def _has_room(self, address: str) -> bool:
        """Whether one more connection from there is allowed; may end an idle one for it."""
        per_address = min(self._settings.max_connections_per_address, max(4, self._limit // 2))
        if self._counts[address] >= per_address:
            text = f"{address} has {per_address} connections open, the most for one address"
            self.log.once_a_minute("address", text)
            return self._end_longest_waiting(address)
        if self._counts.total() >= self._limit:
            text = f"{self._limit} connections are open, the most at once"
            self.log.once_a_minute("connections", text)
            return self._end_longest_waiting(None)
        return True

    def _end_longest_waiting(self, address: str | None) -> bool:
        """End the connection that has waited longest for a request; False when none waits.

        :param address: only one of this client's; None: one of the client that has most.
        """
        waiting = {
            one: [each for each in some if each.waiting_since is not None]
            for one, some in self._connections.items()
            if address in (None, one)
        }
        most = max(waiting.values(), key=len, default=[])
        if not most:
            return False
        longest = min(most, key=lambda each: each.waiting_since or 0.0)
        self.left(longest)  # counted no more, though its socket closes in the loop's next turn
        longest.abort()
        return True

    def _sweep(self) -> None:
        now = time.monotonic()
        for some in list(self._connections.values()):
            for connection in list(some):
                if connection.overdue(now, self._settings):
                    connection.abort()
        self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: Any,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if isinstance(protocol, Connection):
            protocol.request_began(payload)
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        connection = request.protocol
        if task is not None:
            self._running.add(task)
        if isinstance(connection, Connection):
            connection.answering(task)
        try:
            return await self._handler(request)
        except ConnectionError as error:
            # a client that went away is no fault of ours; aiohttp would log a traceback
            raise asyncio.CancelledError from error
        finally:
            if task is not None:
                self._running.discard(task)
            if isinstance(connection, Connection):
                connection.request_ended()


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.setblocking(False)
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


def _turn_away(accepted: socket.socket) -> None:
    with accepted:
        try:
            accepted.setblocking(False)
            accepted.send(_BUSY)
        except OSError:
            pass  # it went away first
