# SPDX-License-Identifier: Apache-2.0
"""The code that runs on the workers: the tasks, and the check whether a worker can write to DEST.

All tasks of a worker process share the memory for blocks, which limits how much is read at once.
Tasks with the same `Reach` share one engine with the connections to the source hosts. The URL of a
source comes with each task. If the host refuses it, the task ends with `Trouble.URL`, and the
client sends the task again with another URL.

Dask cannot end a thread. So a task checks before each piece whether the client still wants it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cachetools import LRUCache

from backlotfs.api.rate_limiter import Priority, Turn
from backlotfs.api.records import SignedUrl
from backlotfs.cache.memory import BlockPool
from backlotfs.cluster.objects import ObjectDiffers, Objects, objects_at, reason_of
from backlotfs.cluster.tasks import (
    Checks,
    CheckTask,
    Failed,
    FolderTask,
    Made,
    ObjectTask,
    RangeTask,
    Reach,
    Source,
    Trouble,
    WrittenRange,
)
from backlotfs.concurrency.clock import Clock, Deadline, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.proxy import parse_proxy
from backlotfs.config.settings import MIB, Account
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import (
    BacklotError,
    ContentChanged,
    DeadlineExceeded,
    Interrupted,
    InvalidRangeResponse,
    RemoteUnavailable,
)
from backlotfs.export.destination import WORKSPACE, Destination, UnsafeDestination, Workspace
from backlotfs.export.file_copy import Part, Version
from backlotfs.export.room import Room
from backlotfs.fetch.loader import BlockLoader
from backlotfs.fetch.stream import stream
from backlotfs.log import redaction
from backlotfs.mount.whole_files import BLOCK_BYTES, whole_file_loader

T = TypeVar("T")
#: Memory of a worker process for blocks in flight, and for parts that are uploaded.
BLOCKS_BYTES, UPLOADS_BYTES = 256 * MIB, 512 * MIB
#: One task may take at most half (1/2) of each.
MOST_OF_ONE = 2
#: The number of assets whose URLs are kept.
URLS_REMEMBERED = 4096
#: A URL that replaced a refused one counts as new for this time.
NEW_S = 30.0
#: The shortest time between two reports of the progress of a task.
SAY_EVERY_S = 1.0
#: Errors of a disk after which another attempt does not help.
_LASTING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}
)

_OTHER_FOLDER = (
    "sees another folder at {} than this machine; name one that all machines share, or an object "
    "store"
)


class UrlNeeded(BacklotError):
    """The source host has refused the URL of a task."""


class TaskUrls:
    """The URLs that came with tasks, as a `signed_get.UrlSource`. Thread-safe.

    A URL that its host refuses is removed, so that the client sends another. A URL that has just
    replaced a refused one is kept for `NEW_S`: if the host refuses it too, something else is wrong,
    and `SignedGet` finds out what.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._urls: LRUCache[str, SignedUrl] = LRUCache(URLS_REMEMBERED)
        self._made_ns: LRUCache[str, int] = LRUCache(URLS_REMEMBERED)
        self._new_until_s: LRUCache[str, float] = LRUCache(URLS_REMEMBERED)

    def put(self, source: Source) -> None:
        """Store the URL of a task, unless an earlier task had a newer URL."""
        embed_code = source.version.embed_code
        with self._lock:
            if source.made_ns < self._made_ns.get(embed_code, 0):
                return
            self._made_ns[embed_code] = source.made_ns
            self._urls[embed_code] = SignedUrl.parse(source.url.text)
            self._new_until_s.pop(embed_code, None)
            if source.is_renewed:
                self._new_until_s[embed_code] = self._clock.monotonic() + NEW_S

    def resolve(
        self,
        embed_code: str,
        deadline: Deadline,  # noqa: ARG002
        *,
        current: bool = False,  # noqa: ARG002
        priority: Priority | None = None,  # noqa: ARG002
        turn: Turn | None = None,  # noqa: ARG002
    ) -> SignedUrl:
        """See `signed_get.UrlSource.resolve`. :raises UrlNeeded: the host has refused the URL."""
        with self._lock:
            url = self._urls.get(embed_code)
        if url is None:
            raise UrlNeeded(f"the URL of {embed_code} is not taken any more")
        return url

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        """See `signed_get.UrlSource.invalidate`."""
        with self._lock:
            is_new = self._new_until_s.get(embed_code, 0.0) > self._clock.monotonic()
            if self._urls.get(embed_code) == url and not is_new:
                del self._urls[embed_code]


class _Engine(NamedTuple):
    urls: TaskUrls
    loader: BlockLoader


class _Process(NamedTuple):
    """What all tasks of this process share."""

    pool: BlockPool
    blocks: Room
    uploads: Room
    lock: threading.Lock
    engines: dict[Reach, _Engine]


@functools.cache
def _process() -> _Process:
    return _Process(
        BlockPool(BLOCKS_BYTES, BLOCK_BYTES),
        Room(BLOCKS_BYTES, BLOCKS_BYTES // MOST_OF_ONE),
        Room(UPLOADS_BYTES, UPLOADS_BYTES // MOST_OF_ONE),
        threading.Lock(),
        {},
    )


def _engine(source: Source) -> _Engine:
    """The engine for the host of a source; store the source's URL there.

    :raises SettingsError: see `Account`.
    """
    process, reach = _process(), source.reach
    with process.lock:
        if reach not in process.engines:
            proxy = None
            if reach.proxy is not None:
                proxy = parse_proxy(reach.proxy.text, "the proxy")
                redaction.hide(*proxy.secrets)
            account = Account(
                reach.api_url,
                "",
                "",
                ca_bundle=reach.ca_bundle,
                allow_source_hosts=reach.allow_source_hosts,
                proxy=proxy,
            )
            clock = SystemClock()
            urls = TaskUrls(clock)
            loader = whole_file_loader(account, urls, process.pool, clock)
            process.engines[reach] = _Engine(urls, loader)
        engine = process.engines[reach]
    engine.urls.put(source)
    return engine


class _Reporter:
    """Reports the progress of a task to the client, and checks whether the task is still wanted."""

    def __init__(self) -> None:
        self._worker: Any = None
        self._key: tuple[str, int] = ("", 0)
        self._moved = 0
        self._said_s = time.monotonic()
        distributed = sys.modules.get("distributed")
        if distributed is not None:
            with contextlib.suppress(ValueError):  # this process is no worker
                self._worker = distributed.get_worker()
                self._key = self._worker.get_current_task()

    def unwanted(self) -> bool:
        """Whether the client has given the task up or has ended, or this worker is closing."""
        if self._worker is None:
            return False
        if self._worker.status.name in ("closing", "closed", "failed"):
            return True  # the scheduler gives its tasks to others
        task = self._worker.state.tasks.get(self._key)
        return task is None or task.state == "cancelled"

    def go_on(self, _count_bytes: int = 0) -> None:
        """:raises Interrupted: the task is not wanted any more."""
        if self.unwanted():
            raise Interrupted("the task was given up")

    def moved(self, count_bytes: int) -> None:
        """Count bytes that were copied. :raises Interrupted: see `go_on`."""
        self.go_on()
        self._moved += count_bytes
        now_s = time.monotonic()
        if self._worker is not None and now_s >= self._said_s + SAY_EVERY_S:
            self._said_s = now_s
            self._worker.log_event(topic_of(self._key[0]), (self._key[1], self._moved))


def topic_of(group: str) -> str:
    """The topic of the Dask events with the progress of tasks. ``group``: such as ``copy-RUN``."""
    return f"backlotfs-{group.rpartition('-')[2]}"


def destination_problem(checks: Checks) -> str:
    """Why this worker cannot write to DEST, in one line; empty if it can."""
    url, folder, proof = checks
    try:
        if url is not None:
            objects, name = objects_at(url), f"{WORKSPACE}/{proof}-{secrets.token_hex(4)}"
            objects.put(name, b"x")
            objects.remove(name)
        if folder is not None:
            with _workspace(folder) as workspace:
                if workspace.look(proof) is None:
                    return _OTHER_FOLDER.format(folder)
    except FileNotFoundError:
        return _OTHER_FOLDER.format(folder) if folder is not None else f"does not find {url}"
    except BacklotError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # each store has errors of its own
        return f"cannot write to {url or folder}: {reason_of(error)}"
    return ""


@contextlib.contextmanager
def _workspace(folder: str) -> Iterator[Workspace]:
    """Open the workspace that the client has claimed in a folder.

    :raises UnsafeDestination: there is no workspace.
    :raises SettingsError: another user made it.
    """
    with Destination.open(Path(folder)) as destination:
        workspace = destination.leftover()
        if workspace is None:
            raise UnsafeDestination("the workspace in the destination is gone; run this again")
        with contextlib.closing(workspace):
            yield workspace


def copy_to_folder(task: FolderTask) -> Made | Failed:
    """Make and seal the part of a file; the client then gives it the final name."""
    return _ended(lambda: _copy_to_folder(task, _Reporter()))


def _copy_to_folder(task: FolderTask, reporter: _Reporter) -> Made:
    source, process = task.source, _process()
    engine = _engine(source)
    version = Version(source.version.size, source.mtime_ns)
    with _workspace(task.folder) as workspace:
        validator = source.version.validator
        part = Part(workspace, task.name, version, reporter.go_on, validator)
        try:
            left_bytes = version.size_bytes - part.length_bytes
            reporter.moved(part.length_bytes)
            with process.blocks.taken(left_bytes, reporter.go_on) as window_bytes:
                for data in _bytes_of(source, engine, reporter, window_bytes, part.length_bytes):
                    part.write(data)
            sealed = part.seal()
            part.leave()
        except BaseException:
            with contextlib.suppress(OSError):
                part.keep()
            raise
        finally:
            part.close()
    return Made(part.digest, sealed.st_size, sealed.st_mtime_ns)


def copy_to_object(task: ObjectTask) -> Made | Failed:
    """Write an object and read it back."""
    return _ended(lambda: _copy_to_object(task, _Reporter()))


def _copy_to_object(task: ObjectTask, reporter: _Reporter) -> Made:
    source, process, objects = task.source, _process(), objects_at(task.url)
    engine = _engine(source)
    with process.blocks.taken(source.version.size, reporter.go_on) as window_bytes:
        written = objects.write(task.name, _bytes_of(source, engine, reporter, window_bytes))
    return _read_back(objects, task.name, (written,), reporter)


def copy_range(task: RangeTask) -> WrittenRange | Failed:
    """Upload one part of a multipart upload."""
    return _ended(lambda: _copy_range(task, _Reporter()))


def _copy_range(task: RangeTask, reporter: _Reporter) -> WrittenRange:
    source, process, objects = task.source, _process(), objects_at(task.url)
    engine, size_bytes = _engine(source), task.stop - task.start
    with process.uploads.taken(size_bytes, reporter.go_on):
        data = bytearray()
        with process.blocks.taken(size_bytes, reporter.go_on) as window_bytes:
            for piece in _bytes_of(source, engine, reporter, window_bytes, task.start, task.stop):
                data += piece
        digest = hashlib.sha256(data).hexdigest()
        tag = objects.upload_part(task.name, task.upload_id, task.number, data)
    return WrittenRange(size_bytes, digest, tag)


def check_object(task: CheckTask) -> Made | Failed:
    """Read back an object of several ranges. If it differs, the whole asset is copied again."""
    return _ended(
        lambda: _read_back(objects_at(task.url), task.name, task.ranges, _Reporter()),
        differs=Trouble.ANEW,
    )


def _read_back(
    objects: Objects, name: str, ranges: tuple[WrittenRange, ...], reporter: _Reporter
) -> Made:
    """As `Objects.read_back`; an object with other bytes is removed."""
    try:
        return objects.read_back(name, ranges, reporter.go_on)
    except ObjectDiffers:
        reporter.go_on()  # if the task was given up, another worker may have written the object
        objects.remove(name)
        raise


def _bytes_of(
    source: Source,
    engine: _Engine,
    reporter: _Reporter,
    window_bytes: int,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[memoryview]:
    """The bytes of a source. Each answer is checked for its version; progress is reported.

    :raises BacklotError: the bytes cannot be read, or the task is not wanted any more.
    """

    def waiter() -> InterruptibleWait:
        clock = engine.loader.settings.clock
        return InterruptibleWait(Deadline(TimeLimits().source_s, clock), reporter.unwanted)

    for piece in stream(engine.loader, source.version, start, window_bytes, waiter, end=stop):
        reporter.moved(len(piece))
        yield piece
    reporter.go_on()  # before the caller completes the copy


def _ended(run: Callable[[], T], differs: Trouble = Trouble.AGAIN) -> T | Failed:
    """The result of a task, or what the client has to do about its failure.

    :param differs: what the client has to do about an object with other bytes.
    """
    try:
        return run()
    except UrlNeeded as error:
        return Failed(Trouble.URL, str(error))
    except ContentChanged as error:
        return Failed(Trouble.CHANGED, str(error))
    except ObjectDiffers as error:
        return Failed(differs, str(error))
    except (
        RemoteUnavailable,
        DeadlineExceeded,
        InvalidRangeResponse,
        Interrupted,  # the task was given up, and then given to this worker again
        UnsafeDestination,  # the worker joined late, and was not checked yet
    ) as error:
        return Failed(Trouble.AGAIN, str(error))
    except BacklotError as error:
        return Failed(Trouble.FINAL, str(error))
    except OSError as error:
        lasting = error.errno in _LASTING
        return Failed(Trouble.FINAL if lasting else Trouble.AGAIN, reason_of(error))
    except Exception as error:  # noqa: BLE001  # each store has errors of its own
        return Failed(Trouble.AGAIN, reason_of(error))
