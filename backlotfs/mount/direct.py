# SPDX-License-Identifier: Apache-2.0
"""Reads files of a running mount in this process, without the kernel.

The mount gives the version of each file and a signed URL over its control socket. This process gets
the bytes directly from the source host, and checks each answer of the host against the version, as
the mount does. In this way many files are read at the same time, with less processor time.

`DirectReader.open` returns None if a file has to be read through the mount: at least half of the
file is cached there, its URL would cost an API credit, or it has no source; or the mount has a
bandwidth limit or belongs to another user.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cachetools import LRUCache

from backlotfs.api.rate_limiter import Priority, Turn
from backlotfs.api.records import SignedUrl
from backlotfs.cache.memory import BlockPool
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.proxy import parse_proxy
from backlotfs.config.settings import Account
from backlotfs.config.time_limits import WARM_ANSWER_S, TimeLimits
from backlotfs.errors import BacklotError, HostUnreachable, SourceDenied, SourceMissing
from backlotfs.fetch.loader import BlockLoader
from backlotfs.fetch.stream import stream
from backlotfs.log import redaction
from backlotfs.mount.control.client import ask
from backlotfs.mount.whole_files import BLOCK_BYTES, whole_file_loader
from backlotfs.source.version import SourceVersion

#: Number of files whose versions and URLs are remembered. It is larger than the number of files
#: that are open at the same time, or in one request to the mount.
FILES_REMEMBERED = 4096


class MountFile(NamedTuple):
    """A file as a mount shows it, and the version that its bytes belong to."""

    version: SourceVersion
    mtime_s: int


class MountUrls:
    """The versions and URLs that a mount gives, as a `signed_get.UrlSource`. Thread-safe."""

    def __init__(self, place: Path) -> None:
        """``place``: the mountpoint."""
        self._place = place
        self._batch = threading.Lock()  # held by the thread that asks for many files
        self._lock = threading.Lock()  # guards the fields below
        # by path; `file` removes the entry that it returns
        self._files: LRUCache[str, MountFile] = LRUCache(FILES_REMEMBERED)
        self._paths: LRUCache[str, str] = LRUCache(FILES_REMEMBERED)  # by embed code
        self._urls: LRUCache[str, SignedUrl] = LRUCache(FILES_REMEMBERED)  # by embed code
        self._refused: LRUCache[str, SignedUrl] = LRUCache(FILES_REMEMBERED)  # by embed code

    def file(self, path: str, following: Iterable[str]) -> MountFile | None:
        """The file at ``path``; None: read the file through the mount.

        :param following: the files that are opened next. The same request asks for them, unless
            another thread is asking for many files.
        :raises NoAnswer: the mount does not answer, or answers with an error.
        """
        known = self._pop(path)
        if known is None:
            if self._batch.acquire(blocking=False):
                try:
                    self._ask([path, *following], WARM_ANSWER_S)
                finally:
                    self._batch.release()
            else:
                self._ask([path], WARM_ANSWER_S)
            known = self._pop(path)
        return known

    def _pop(self, path: str) -> MountFile | None:
        with self._lock:
            found: MountFile | None = self._files.pop(path, None)
            return found

    def _ask(
        self, paths: Sequence[str], timeout_s: float, *, refused: SignedUrl | None = None
    ) -> None:
        more = {} if refused is None else {"refused": refused.url}
        answer = ask(self._place, "sources", timeout_s=timeout_s, paths=paths, **more)
        for file in filter(None, answer["files"]):
            version = SourceVersion(file["id"], file["size"], file["etag"], file["last_modified"])
            with self._lock:
                self._files[file["path"]] = MountFile(version, file["mtime_s"])
                self._paths[version.embed_code] = file["path"]
                self._urls[version.embed_code] = SignedUrl.parse(file["url"])

    def resolve(
        self,
        embed_code: str,
        deadline: Deadline,
        *,
        current: bool = False,  # noqa: ARG002  # only probes use it
        priority: Priority | None = None,  # noqa: ARG002
        turn: Turn | None = None,  # noqa: ARG002
    ) -> SignedUrl:
        """See `signed_get.UrlSource.resolve`. Ask the mount if the host refused the last URL."""
        with self._lock:
            url, path = self._urls.get(embed_code), self._paths.get(embed_code)
            refused = self._refused.pop(embed_code, None)
        if url is None and path is not None:
            self._ask([path], deadline.remaining_s(), refused=refused)
            with self._lock:
                url = self._urls.get(embed_code)
        if url is None:
            raise SourceMissing(f"the API gives no URL for the source of {embed_code}")
        return url

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        """See `signed_get.UrlSource.invalidate`."""
        with self._lock:
            if self._urls.get(embed_code) == url:
                del self._urls[embed_code]
                self._refused[embed_code] = url


class _Engine(NamedTuple):
    urls: MountUrls
    loader: BlockLoader


class DirectReader:
    """Opens files of the mounts on this machine for direct reading. Any thread may call it."""

    def __init__(self, memory_bytes: int, stop: Callable[[], bool]) -> None:
        """Ask no mount yet.

        :param memory_bytes: memory for the blocks of all files.
        :param stop: returns whether all waits have to end.
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
        with self._lock:  # held during the question too: all threads need the answer
            if place not in self._engines:
                self._engines[place] = self._engine(place)
            engine = self._engines[place]
        if engine is None:
            return None
        try:
            file = engine.urls.file(inner, following)
        except BacklotError:
            return None
        return None if file is None else DirectFile(self, place, engine, file, self._stop)

    def worked(self, place: Path) -> None:
        """Note that a source host sent bytes of a file of this mount to this process."""
        self._proven.add(place)

    def failed(self, place: Path, error: BacklotError) -> None:
        """If no read from this mount's hosts has worked yet, read its files through the mount.

        This applies to errors that suggest that only the mount can reach its hosts.
        """
        if place not in self._proven and isinstance(error, HostUnreachable | SourceDenied):
            with self._lock:
                self._engines[place] = None

    def _engine(self, place: Path) -> _Engine | None:
        try:
            answer = ask(place, "transport")
            return None if answer["limited"] else self._engine_like(place, answer)
        except BacklotError:  # no answer, or a file that only the mount can read
            return None

    def _engine_like(self, place: Path, answer: dict[str, Any]) -> _Engine:
        """Make an engine that connects as the mount does.

        :param answer: the mount's answer to ``transport``.
        :raises BacklotError: this process cannot use the proxy or the CA bundle of the mount.
        """
        proxy = None
        if answer["proxy"] is not None:
            proxy = parse_proxy(answer["proxy"], "the proxy of the mount")
            redaction.hide(*proxy.secrets)
        account = Account(
            answer["api_url"],
            "",
            "",
            ca_bundle=answer["ca_bundle"],
            allow_source_hosts=tuple(answer["allow_source_hosts"]),
            proxy=proxy,
        )
        urls = MountUrls(place)
        loader = whole_file_loader(account, urls, self._pool, self._clock)
        return _Engine(urls, loader)


class DirectFile:
    """One opened file of a mount."""

    def __init__(
        self,
        reader: DirectReader,
        place: Path,
        engine: _Engine,
        file: MountFile,
        stop: Callable[[], bool],
    ) -> None:
        """Called by `DirectReader.open` only."""
        self._reader = reader
        self._place = place
        self._engine = engine
        self._version = file.version
        self._stop = stop
        #: Size and modification time as the mount shows them for this version.
        self.size_bytes = file.version.size
        self.mtime_s = file.mtime_s

    def pieces(self, offset: int, window_bytes: int) -> Iterator[memoryview]:
        """The bytes from ``offset`` to the end, all of one version.

        :raises OSError: EAGAIN: they cannot be read directly; read them through the mount.
        """
        loader = self._engine.loader
        try:
            for piece in stream(loader, self._version, offset, window_bytes, self._waiter):
                self._reader.worked(self._place)
                yield piece
        except BacklotError as error:
            self._reader.failed(self._place, error)
            raise OSError(errno.EAGAIN, str(error)) from error

    def _waiter(self) -> InterruptibleWait:
        clock = self._engine.loader.settings.clock
        return InterruptibleWait(Deadline(TimeLimits().source_s, clock), self._stop)
