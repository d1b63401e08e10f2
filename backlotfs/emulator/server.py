# SPDX-License-Identifier: Apache-2.0
"""The emulator: API and source host of a Backlot service on one port, in a thread of its own.

One thread runs one asyncio loop. Every request is a task there; code that may wait for a disk runs
in other threads (``workers``). ``start`` returns when the ports are bound. ``stop`` cancels running
requests, even stalled ones, aborts their connections and ends the thread. ``library``, ``faults``,
``requests`` and ``expire_urls`` are thread-safe and may be used at any time.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

from backlotfs.emulator.connections import Listener, ThrottledLog, connection_limit
from backlotfs.emulator.dispatch import Dispatcher
from backlotfs.emulator.faults import FaultPlan
from backlotfs.emulator.library import Library
from backlotfs.emulator.request_log import RequestLog
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.sources import Sources

_STOP_S = 10.0
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


class Emulator:
    """A Backlot-compatible server for a library; a context manager that can be used once.

    :ivar library: the library that it serves; it may be changed at any time.
    :ivar settings: the settings that it was made with.
    :ivar faults: the faults of its answers.
    :ivar requests: the log of its requests.
    """

    def __init__(
        self,
        library: Library,
        settings: EmulatorSettings | None = None,
        *,
        faults: FaultPlan | None = None,
        requests: RequestLog | None = None,
    ) -> None:
        """Prepare the emulator; nothing listens yet."""
        self.library = library
        self.settings = settings or EmulatorSettings()
        self.faults = faults or FaultPlan()
        self.requests = requests or RequestLog()
        self._sources = Sources(self.settings, library)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._ports: list[int] = []

    def __enter__(self) -> Emulator:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def api_key(self) -> str:
        """The API key of the account."""
        return self.settings.api_key

    @property
    def api_secret(self) -> str:
        """The API secret of the account."""
        return self.settings.api_secret

    @property
    def api_url(self) -> str:
        """``http://host:port`` of the API and the source host.

        :raises RuntimeError: it was not started.
        """
        return self._url(0)

    @property
    def cdn_url(self) -> str | None:
        """``http://host:port`` of the CDN host; None if the settings have none.

        :raises RuntimeError: it was not started.
        """
        return self._url(1) if self.settings.cdn else None

    def source_url(self, embed_code: str) -> str:
        """A new signed URL of an asset's source, as in the answer of ``/streams``.

        :raises KeyError: there is no such asset.
        """
        return self._sources.url(self.library.get(embed_code), self.api_url)

    def expire_urls(self) -> None:
        """Expire every source URL that was signed until now; later URLs are valid."""
        self._sources.expire_urls()

    def start(self) -> None:
        """Bind the ports and serve; return when connections are accepted.

        :raises OSError: an address cannot be bound.
        :raises RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("an emulator is started once")
        self._thread = threading.Thread(target=self._run, name="backlot-emulator", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """End every request, close every socket, end the thread. Idempotent.

        It takes at most ten seconds. A thread that hangs in the kernel keeps running, but does not
        stop the program from ending.
        """
        if self._thread is not None and self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_STOP_S)

    def _url(self, index: int) -> str:
        if index >= len(self._ports):
            raise RuntimeError("the emulator has not been started")
        host = _WILDCARDS.get(self.settings.host, self.settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._ports[index]}"

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 it is raised again by start()
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        settings, log = self.settings, ThrottledLog()

        def on_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            if isinstance(error, OSError):  # accept failed; asyncio tries again after a second
                log.warning("resources", f"cannot accept connections: {error.strerror}")
            else:
                log.unexpected(str(context.get("message")), error)

        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(on_loop_error)
        dispatcher = Dispatcher(
            settings, self.library, sources=self._sources, faults=self.faults, log=self.requests
        )
        handlers = [partial(dispatcher.handle, "api")]
        if settings.cdn:
            handlers.append(partial(dispatcher.handle, "cdn"))
        limit = connection_limit(settings.max_connections, listeners=len(handlers))
        listeners = [Listener(one, settings, limit=limit, log=log) for one in handlers]
        try:
            self._ports = [
                await one.listen(settings.host, port)
                for one, port in zip(listeners, (settings.port, 0), strict=False)
            ]
            self._started.set()
            await self._stopping.wait()
        finally:
            for one in listeners:
                await one.close()
            dispatcher.stop()
