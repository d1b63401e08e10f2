# SPDX-License-Identifier: Apache-2.0
"""Prefetch across files: fetches the next files of a folder before a program opens them.

`WalkPlanner` predicts which files a program opens next. `WalkPrefetcher` keeps one planner for each
program, reports opens, reads and closes to it, and fetches the planned files by the block loader,
after everything that open files need. If a prediction was wrong, its fetches are dropped if they
have not begun or have more than `FINISHED_BYTES` left.

A file is fetched ahead only if its version is known and verified, so that an open of the file finds
these blocks. If the version changes before the open, the open has another key and fetches again. If
the signed URL of a file costs an API credit, it is requested at background priority, and only a few
are requested at a time.

Threads. Operations record what happened; the plans are made on a thread of their own, because
sorting a large folder takes a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from cachetools import LRUCache

from backlotfs.api.rate_limiter import Priority
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.workers import Workers
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import BacklotError
from backlotfs.fetch.loader import BlockLoader
from backlotfs.prefetch.planner import (
    MIN_GROWN_REQUEST_BYTES,
    WINDOW_REQUESTS,
    even_parts,
    power_below,
    window_target,
)
from backlotfs.prefetch.registry import MAX_WINDOW_BYTES, PrefetcherRegistry, StatsOf
from backlotfs.prefetch.walk_planner import (
    FIRST_WINDOW_BYTES,
    LEAD_BYTES,
    AheadFile,
    FileUse,
    FolderOrders,
    WalkPlanner,
)
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.source.version import SourceVersion

#: The number of programs that are remembered. A program has a share of the memory for this many
#: seconds after its last open.
PROGRAMS_REMEMBERED, ACTIVE_S = 64, 2.0
#: The number of signed URLs for files ahead that are requested at the same time.
URLS_AT_ONCE = 4

#: A folder with more files has no prefetch across files: sorting it would take too long. For the
#: first file of a program that reads whole files, which may be the only one, the limit is lower.
MOST_FILES, MOST_FILES_AT_FIRST = 200_000, 5_000

#: Returns the folder in which an asset was opened; None: it is unknown or too large. The arguments
#: are the asset's embed code, the identity of the folder that the program used before, and the most
#: files that the folder may have.
FolderOf = Callable[[str, int | None, int], FolderOrders | None]


@dataclass(slots=True)
class _Program:
    """A program that opens files. ``lock`` guards its planner.

    :ivar wanted: the embed codes of the files that the program probably opens, or has open.
    :ivar folder: the identity of the folder that it used last.
    :ivar first: the first file that it opened, until its folder is known.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    planner: WalkPlanner = field(default_factory=WalkPlanner)
    wanted: set[str] = field(default_factory=set)
    folder: int | None = None
    first: FileUse | None = None
    opened_s: float = 0.0


@dataclass(slots=True, eq=False)
class OpenedFile:
    """One open file of a program.

    :ivar expected_bytes: how much of the file is probably read, from its head; None: not known.
    :ivar reads_whole: see `WalkPlanner.opened`.
    :ivar leads: whether the next files are planned, because little of it is left to be read.
    """

    _program: _Program
    version: SourceVersion
    use: FileUse
    expected_bytes: int | None
    reads_whole: bool
    leads: bool = False


class WalkPrefetcher:
    """Fetches the next files of each program. Any thread may call it; no call waits.

    :ivar folder_of: finds the folders; until it is set, nothing is fetched.
    """

    def __init__(
        self,
        loader: BlockLoader,
        prefetchers: PrefetcherRegistry,
        clock: Clock,
        *,
        version_of: Callable[[str], SourceVersion | None],
        stats_of: StatsOf,
        urls: UrlResolver | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Fetch nothing yet.

        :param prefetchers: the prefetchers of the open files; the memory for windows is shared with
            them.
        :param version_of: returns the verified version of a source; None: there is none.
        :param urls: knows which URLs cost a credit; None: no URL costs one.
        :param workers: makes the plans; None: one thread.
        """
        self._loader = loader
        self._prefetchers = prefetchers
        self._clock = clock
        self.folder_of: FolderOf = lambda _code, _near, _most: None
        self._version_of = version_of
        self._stats_of = stats_of
        self._urls = urls
        self._workers = workers or Workers(1, "walks")
        self._url_workers = Workers(URLS_AT_ONCE, "walk-urls")
        self._asking = threading.Semaphore(URLS_AT_ONCE)
        self._lock = threading.Lock()
        self._programs: LRUCache[Hashable, _Program] = LRUCache(PROGRAMS_REMEMBERED)

    def opened(
        self, program: Hashable, version: SourceVersion, *, reads_whole: bool = False
    ) -> OpenedFile:
        """Record that a program opens a file.

        :param program: identifies a program over all its processes.
        :param reads_whole: see `WalkPlanner.opened`.
        """
        with self._lock:
            known = self._programs.get(program)
            if known is None:
                known = self._programs[program] = _Program()
        use = FileUse(version.embed_code, version.size)
        known.opened_s = self._clock.monotonic()
        with known.lock:
            expected = known.planner.expected_bytes(version.size, reads_whole=reads_whole)
            known.planner.begun(use)
        opened = OpenedFile(known, version, use, expected, reads_whole)
        self._workers.submit(lambda: self._on_open(opened))
        return opened

    def read(self, opened: OpenedFile, read: ByteRange) -> None:
        """Record a read of an open file."""
        use = opened.use
        use.read_bytes += read.length
        use.read_to = max(use.read_to, read.stop)

    def look_ahead(self, opened: OpenedFile) -> None:
        """Plan the next files if little is left of an open file.

        Call it after a read of the file, and after the prefetch of the file itself: otherwise the
        next files would take the idle connections.
        """
        use = opened.use
        if not opened.leads and use.size - use.read_to <= LEAD_BYTES:
            opened.leads = True
            self._workers.submit(lambda: self._on_lead(opened))

    def closed(self, opened: OpenedFile) -> None:
        """Record that an open file is closed."""
        program = opened._program
        with program.lock:
            program.planner.ended(opened.use)
            program.wanted.discard(opened.use.key)

    def windows(self, now_s: float) -> list[int]:
        """The bytes that each active program may have fetched ahead, for `WindowBudget`."""
        with self._lock:
            programs = list(self._programs.values())
        return [
            MAX_WINDOW_BYTES
            for program in programs
            if program.wanted and now_s - program.opened_s < ACTIVE_S
        ]

    def _on_open(self, opened: OpenedFile) -> None:
        program = opened._program
        most_files = MOST_FILES
        if program.folder is None and program.first is None:
            program.first = opened.use  # its folder is looked for again with the next file
            if not opened.reads_whole or opened.use.size < FIRST_WINDOW_BYTES:
                return
            most_files = MOST_FILES_AT_FIRST
        folder = self.folder_of(opened.use.key, program.folder, most_files)
        if folder is None:
            return
        first, program.first = program.first, None
        program.folder = folder.identity
        with program.lock:
            if first is not None and first is not opened.use and first.key in folder:
                program.planner.opened(first, folder)
            program.planner.opened(opened.use, folder, reads_whole=opened.reads_whole)
            if opened.use.closed:
                program.wanted.discard(opened.use.key)
            elif opened.use.ahead_bytes:
                program.wanted.add(opened.use.key)
            program.wanted.difference_update(program.planner.withdrawn())

    def _on_lead(self, opened: OpenedFile) -> None:
        program = opened._program
        if program.folder is None:
            return  # it has opened one file, and nothing is known of its folder
        folder = self.folder_of(opened.use.key, program.folder, MOST_FILES)
        if folder is not None:
            self._plan(program, folder)

    def _plan(self, program: _Program, folder: FolderOrders) -> None:
        now_s = self._clock.monotonic()
        shares = self._prefetchers.shares
        shares.settle(self, now_s)
        window = min(MAX_WINDOW_BYTES, shares.cap_bytes)
        versions: dict[str, SourceVersion] = {}

        def size_of(embed_code: str) -> int | None:
            version = self._version_of(embed_code)
            if version is None:
                return None
            versions[embed_code] = version
            return version.size

        with program.lock:
            planned = program.planner.plan(folder, size_of, max_window_bytes=window)
            program.wanted.update(ahead.key for ahead in planned)
        for ahead in planned:
            self._fetch(program, versions[ahead.key], ahead)

    def _fetch(self, program: _Program, version: SourceVersion, ahead: AheadFile) -> None:
        if self._urls is None or self._urls.is_free(ahead.key):
            self._prefetch(program, version, ahead.part)
        elif self._asking.acquire(blocking=False):
            self._url_workers.submit(lambda: self._ask(program, version, ahead.part))

    def _ask(self, program: _Program, version: SourceVersion, part: ByteRange) -> None:
        """Request a signed URL, with an API credit that no program waits for, and fetch."""
        assert self._urls is not None
        code = version.embed_code
        try:
            if code in program.wanted:
                deadline = Deadline(TimeLimits().source_s, self._clock)
                self._urls.resolve(code, deadline, priority=Priority.BACKGROUND)
                self._prefetch(program, version, part)
        except BacklotError:
            pass  # when the file is opened, the URL is requested again and an error is reported
        finally:
            self._asking.release()

    def _prefetch(self, program: _Program, version: SourceVersion, part: ByteRange) -> None:
        code, expected = version.embed_code, program.wanted

        def wanted(left: ByteRange) -> bool:
            # If the file was opened meanwhile, its readers decide, also those of other programs.
            return code in expected or self._prefetchers.wanted(version, left)

        # A small window is split into several requests, so that it arrives sooner.
        part_of_window = power_below(program.planner.window_bytes // WINDOW_REQUESTS)
        largest = window_target(self._stats_of(code)).request_bytes
        request = max(MIN_GROWN_REQUEST_BYTES, min(part_of_window, largest))
        for piece in even_parts(part, request):  # otherwise the last one is often short
            self._loader.prefetch(version, piece, wanted, before_open=True)
