"""Reads files of a running mount in this process, without the kernel.

The mount gives the version of each file and a signed URL, over its control socket; the bytes come
from the source host straight into this process. Each answer of the host is checked against the
version, as the mount does it. So many files are read at once with a third of the processor time.

Where that is not wanted, `DirectReader.open` returns None, and the file is read through the mount:
its bytes are cached there, its URL would cost an API credit, it has no source, the mount has a
bandwidth limit, or it belongs to another user.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from backlotfs.api.rate_limiter import Priority, Turn
from backlotfs.api.records import SignedUrl
from backlotfs.cache.memory import BlockCache, BlockPool
from backlotfs.concurrency.clock import Clock, Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.concurrency.workers import Workers
from backlotfs.config.proxy import parse_proxy
from backlotfs.config.settings import MIB, Account
from backlotfs.config.time_limits import WARM_ANSWER_S, TimeLimits
from backlotfs.errors import BacklotError, HostUnreachable, SourceMissing
from backlotfs.fetch.hedging import HedgePolicy
from backlotfs.fetch.hosts import FetchScheduler
from backlotfs.fetch.loader import BlockLoader, FetchSettings
from backlotfs.fetch.stream import stream
from backlotfs.mount.control.client import NoAnswer, ask
from backlotfs.mount.transport import Transport
from backlotfs.source.etag_aliases import EtagAliases
from backlotfs.source.range_reader import RangeReader
from backlotfs.source.version import SourceVersion

#: Size of a block. Whole files are copied, so it is larger than that of a mount.
BLOCK_BYTES = 1 * MIB
#: A URL is asked for again so long before it expires.
MARGIN_S = 30.0
#: Threads for transfers.
TRANSFER_THREADS = 64


class MountUrls:
    """The versions and URLs that a mount gives, as a `signed_get.UrlSource`. Thread-safe."""

    def __init__(self, place: Path, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._asking = threading.Lock()
        self._lock = threading.Lock()
        self._known: dict[str, SourceVersion] = {}  # by path, until it is asked for
        self._paths: dict[str, str] = {}
        self._urls: dict[str, SignedUrl] = {}
        self._refused: dict[str, SignedUrl] = {}

    def version(self, path: str, following: Iterable[str]) -> SourceVersion | None:
        """The version of the file at ``path``; None: it is to be read through the mount.

        :param following: the files that are opened next; they are asked for together with it.
        :raises NoAnswer: the mount does not answer, or only with an error.
        """
        known = self._pop(path)
        if known is not None:
            return known
        with self._asking:
            known = self._pop(path)  # somebody may have asked for it meanwhile
            if known is None:
                self._ask([path, *following], WARM_ANSWER_S)
                known = self._pop(path)
        return known

    def _pop(self, path: str) -> SourceVersion | None:
        with self._lock:
            return self._known.pop(path, None)

    def _ask(self, paths: Sequence[str], timeout_s: float, **refused: str) -> None:
        answer = ask(self._place, "sources", timeout_s=timeout_s, paths=paths, **refused)
        for file in filter(None, answer["files"]):
            version = SourceVersion(file["id"], file["size"], file["etag"], file["last_modified"])
            url = SignedUrl.parse(file["url"])
            with self._lock:
                if not refused:
                    self._known[file["path"]] = version
                self._paths[version.embed_code] = file["path"]
                self._urls[version.embed_code] = url

    def forget(self, embed_code: str) -> None:
        """Forget a file that was read."""
        with self._lock:
            for known in (self._paths, self._urls, self._refused):
                known.pop(embed_code, None)

    def resolve(
        self,
        embed_code: str,
        deadline: Deadline,
        *,
        current: bool = False,  # noqa: ARG002  # only probes ask for it
        priority: Priority | None = None,  # noqa: ARG002
        turn: Turn | None = None,  # noqa: ARG002
    ) -> SignedUrl:
        """See `signed_get.UrlSource.resolve`."""
        with self._lock:
            url, path = self._urls.get(embed_code), self._paths.get(embed_code)
            refused = self._refused.pop(embed_code, None)
        if url is not None and not self._is_old(url):
            return url
        if path is not None:
            old = refused or url
            self._ask([path], deadline.remaining_s(), refused="" if old is None else old.url)
        with self._lock:
            found = self._urls.get(embed_code)
        if found is None or found == url:
            raise SourceMissing(f"the API gives no URL for the source of {embed_code}")
        return found

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        """See `signed_get.UrlSource.invalidate`."""
        with self._lock:
            if self._urls.get(embed_code) == url:
                del self._urls[embed_code]
                self._refused[embed_code] = url

    def _is_old(self, url: SignedUrl) -> bool:
        return url.expires_at_s is not None and url.expires_at_s < self._clock.now() + MARGIN_S


class _Engine(NamedTuple):
    urls: MountUrls
    loader: BlockLoader


class DirectReader:
    """Opens files of the mounts on this machine for direct reading. Any thread may call it."""

    def __init__(self, memory_bytes: int, stop: Callable[[], bool]) -> None:
        """Ask no mount yet.

        :param memory_bytes: for the blocks of all files.
        :param stop: whether to end all waits.
        """
        self._clock = SystemClock()
        self._pool = BlockPool(memory_bytes, BLOCK_BYTES)
        self._stop = stop
        self._lock = threading.Lock()
        self._engines: dict[Path, _Engine | None] = {}
        self._proven: set[Path] = set()

    def open(self, place: Path, inner: str, following: Iterable[str] = ()) -> DirectFile | None:
        """Open the file at ``inner`` of the mount at ``place``; None: read it through the mount.

        :param following: the files of this mount that are opened next.
        """
        with self._lock:
            if place not in self._engines:
                self._engines[place] = self._engine(place)
            engine = self._engines[place]
        if engine is None:
            return None
        try:
            version = engine.urls.version(inner, following)
        except BacklotError:
            return None
        return None if version is None else DirectFile(self, place, engine, version, self._stop)

    def worked(self, place: Path) -> None:
        """Note that bytes came without the mount."""
        self._proven.add(place)

    def failed(self, place: Path, error: BacklotError) -> None:
        """Ask the mount no more if its hosts can be reached by itself only."""
        if place not in self._proven and isinstance(error, HostUnreachable):
            with self._lock:
                self._engines[place] = None

    def _engine(self, place: Path) -> _Engine | None:
        try:
            answer = ask(place, "transport")
        except NoAnswer:
            return None
        if answer["limited"]:
            return None
        proxy = answer["proxy"]
        account = Account(
            answer["api_url"],
            "",
            "",
            ca_bundle=answer["ca_bundle"],
            allow_source_hosts=tuple(answer["allow_source_hosts"]),
            proxy=None if proxy is None else parse_proxy(proxy, "the proxy of the mount"),
        )
        transport = Transport.of(account, self._clock)
        urls = MountUrls(place, self._clock)
        reader = RangeReader(
            transport.signed_get(urls), self._clock, aliases=EtagAliases(self._clock)
        )
        scheduler = FetchScheduler(
            Workers(TRANSFER_THREADS, "transfer"),
            transport.hosts.host_of,
            self._clock,
            max_jobs=TRANSFER_THREADS,
        )
        loader = BlockLoader(
            BlockCache(self._pool, keep_consumed=0),
            FetchSettings(reader.fetch, self._clock, TimeLimits().source_s),
            scheduler,
            prefetch_budget_bytes=0,
            changed=lambda _version: None,
            hedges=HedgePolicy(transport.hosts, self._clock, lambda _code: False),
        )
        return _Engine(urls, loader)


class DirectFile:
    """One opened file of a mount."""

    def __init__(
        self,
        reader: DirectReader,
        place: Path,
        engine: _Engine,
        version: SourceVersion,
        stop: Callable[[], bool],
    ) -> None:
        """`DirectReader.open` makes one."""
        self._reader = reader
        self._place = place
        self._engine = engine
        self._version = version
        self._stop = stop

    @property
    def size_bytes(self) -> int:
        """The size of its version."""
        return self._version.size

    def pieces(self, offset: int, window_bytes: int) -> Iterator[memoryview]:
        """The bytes from ``offset`` to the end, all of one version.

        :raises OSError: EAGAIN: they do not come in this way; read them through the mount.
        """
        try:
            yield from stream(
                self._engine.loader, self._version, offset, window_bytes, self._waiter
            )
            self._reader.worked(self._place)
        except BacklotError as error:
            self._reader.failed(self._place, error)
            raise OSError(errno.EAGAIN, str(error)) from error
        finally:
            self._engine.urls.forget(self._version.embed_code)

    def _waiter(self) -> InterruptibleWait:
        clock = self._engine.loader.settings.clock
        return InterruptibleWait(Deadline(TimeLimits().source_s, clock), self._stop)
