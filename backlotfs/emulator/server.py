"""The emulator: both sides of a Backlot service on one port, in a thread of its own.

Theory of operation. One thread runs one asyncio loop; every request is a task there, and what may
wait on a disk runs in threads beside it (``workers``). ``start``
returns once the ports are bound; ``stop`` cancels the requests under way (a stalled one too),
aborts their connections and ends the thread. Everything a test touches from outside (``library``,
``faults``, ``requests``, ``expire_urls``) is thread-safe and may be used before, during and after.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

from backlotfs.emulator.connections import Listener, QuietLog, connection_limit
from backlotfs.emulator.dispatch import Dispatcher
from backlotfs.emulator.faults import FaultPlan
from backlotfs.emulator.library import Library
from backlotfs.emulator.request_log import RequestLog
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.sources import SourceUrls

_STOP_S = 10.0
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


class Emulator:
    """A Backlot-compatible server over a library; a context manager that can be used once.

    :ivar library: what it serves; may be changed at any time.
    :ivar faults: scripted misbehaviour.
    :ivar requests: what was asked of it.
    :ivar settings: as given.
    """

    def __init__(
        self,
        library: Library,
        settings: EmulatorSettings | None = None,
        *,
        faults: FaultPlan | None = None,
        requests: RequestLog | None = None,
    ) -> None:
        """Nothing listens yet."""
        self.library = library
        self.settings = settings or EmulatorSettings()
        self.faults = faults or FaultPlan()
        self.requests = requests or RequestLog()
        self._urls = SourceUrls(self.settings)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._ports: list[int] = []

    def __enter__(self) -> Emulator:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def api_key(self) -> str:
        """The key this account signs with."""
        return self.settings.api_key

    @property
    def api_secret(self) -> str:
        """The secret this account signs with."""
        return self.settings.api_secret

    @property
    def api_url(self) -> str:
        """``http://host:port`` of the API and the source side.

        :raises RuntimeError: before it was started.
        """
        return self._url(0)

    @property
    def cdn_url(self) -> str | None:
        """``http://host:port`` of the CDN host, or None when the settings want none.

        :raises RuntimeError: before it was started.
        """
        return self._url(1) if self.settings.cdn else None

    def source_url(self, embed_code: str) -> str:
        """A freshly signed URL of an asset's source, as ``/streams`` would give it.

        :raises KeyError: when there is no such asset.
        """
        return self._urls.mint(self.library.get(embed_code), self.api_url)

    def expire_urls(self) -> None:
        """Every source URL signed until now counts as expired; later ones are good again."""
        self._urls.expire_all()

    def start(self) -> None:
        """Bind the ports and serve; returns once connections are accepted.

        :raises OSError: when an address cannot be bound.
        :raises RuntimeError: when it was started before.
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
        """End every request, close every socket, end the thread. May be called again.

        Takes ten seconds at most: a thread that hangs in the kernel is left behind, and does not
        keep the program from ending.
        """
        loop, stopping, thread = self._loop, self._stopping, self._thread
        if thread is None or loop is None or stopping is None:
            return
        if thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
            thread.join(_STOP_S)

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
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        dispatcher = Dispatcher(
            self.settings,
            self.library,
            urls=self._urls,
            faults=self.faults,
            log=self.requests,
        )
        log = QuietLog()
        handlers = [dispatcher.handle_api]
        if self.settings.cdn:
            handlers.append(dispatcher.handle_cdn)
        limit = connection_limit(self.settings.max_connections, listeners=len(handlers))
        listeners = [Listener(one, self.settings, limit=limit, log=log) for one in handlers]
        try:
            ports = (self.settings.port, 0)
            host = self.settings.host
            self._ports = [
                await one.listen(host, port) for one, port in zip(listeners, ports, strict=False)
            ]
            self._started.set()
            await self._stopping.wait()
        finally:
            for one in listeners:
                await one.close()
            dispatcher.stop()
