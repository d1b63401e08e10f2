"""One listening port and the requests under way on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

_STOP_GRACE_S = 0.05  # our requests are cancelled before; this is for aiohttp's own bookkeeping
#: Turns of the loop that asyncio needs from accept(2) to a connection that is made.
_ACCEPT_TURNS = 5
_BACKLOG = 1024
_MAX_LINE_BYTES = 64 * 1024  # a where clause with a few hundred embed codes

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener:
    """A port that hands its requests to a handler. For one event loop."""

    def __init__(self, handler: Handler) -> None:
        """Nothing listens yet."""
        self._handler = handler
        self._running: set[asyncio.Task[object]] = set()
        # a client that hangs up cancels its request: a stalled one must not outlive it
        self._server = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            max_line_size=_MAX_LINE_BYTES,
        )
        self._listening: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Accept connections; returns the port (a free one when ``port`` is 0).

        :raises OSError: when the address cannot be bound.
        """
        # not by aiohttp's TCPSite: it hides the sockets that `close` has to stop first
        self._listening = await asyncio.get_running_loop().create_server(
            self._server, host, port, backlog=_BACKLOG
        )
        return int(self._listening.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, cancel requests, abort connections."""
        if self._listening is None:
            return
        # A connection that asyncio has accepted and not yet handed over when its server closes is
        # dropped with its socket open: so first stop accepting, then let those through.
        loop = asyncio.get_running_loop()
        for listening in self._listening.sockets:
            loop.remove_reader(listening.fileno())
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        self._listening.close()
        # taken now: a cancelled request loses its transport, unsent bytes and all
        transports = [one.transport for one in self._server.connections]
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for transport in transports:
            if transport is not None:
                transport.abort()
        await self._server.shutdown(_STOP_GRACE_S)
        await asyncio.sleep(0)  # what was aborted is closed in the loop's next turn

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is not None:
            self._running.add(task)
        try:
            return await self._handler(request)
        except ConnectionError as error:
            # a client that went away is no fault of ours; aiohttp would log a traceback
            raise asyncio.CancelledError from error
        finally:
            if task is not None:
                self._running.discard(task)
