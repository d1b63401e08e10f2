# SPDX-License-Identifier: Apache-2.0
"""What a reader has fetched ahead, over a store that only takes note."""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from backlotfs.byterange import ByteRange, block_range, block_span
from backlotfs.cache.memory import Block
from backlotfs.errors import BacklotError, RemoteUnavailable
from backlotfs.fetch.loader import BlockLoader, PendingRead, StillWanted
from backlotfs.log.traces import ReadSpan
from backlotfs.open_files.reader import HandleTable, SourceReader
from backlotfs.open_files.walk_prefetch import WalkPrefetcher
from backlotfs.prefetch.index_patterns import INDEX_BYTES, TAIL_BYTES
from backlotfs.prefetch.registry import CLOSE_GRACE_S, PrefetcherRegistry
from backlotfs.prefetch.walk_planner import FolderOrders
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version
from tests.fakes.workers import InlineWorkers

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BLOCK, READ = 64 * KIB, 128 * KIB
SIZE = 20 * GIB


class NotedStore(BlockLoader):
    """A loader whose blocks come when the test says so.

    :ivar ahead: what was prefetched, with the question whether it is wanted still.
    """

    block_bytes = BLOCK

    def __init__(self) -> None:
        self.demands: list[PendingRead] = []
        self.ahead: list[tuple[ByteRange, StillWanted]] = []
        self.cached = False
        self._lock = threading.Lock()

    def demand(
        self, version: SourceVersion, wanted: ByteRange, span: ReadSpan | None = None
    ) -> PendingRead:
        assert wanted.stop <= version.size
        demand = PendingRead(wanted, BLOCK, self._lock, "reading")
        demand.span = span
        demand.missed = not self.cached
        self.demands.append(demand)
        return demand

    def prefetch(
        self,
        version: SourceVersion,
        ahead: ByteRange,
        still_wanted: StillWanted,
        *,
        before_open: bool = False,
    ) -> None:
        assert ahead.stop <= version.size
        assert not before_open  # no other file is known
        self.ahead.append((ahead, still_wanted))

    def land(self, head: bytes) -> None:
        """Every demand is met, with ``head`` at the beginning of the file."""
        for demand in self.demands:
            for number in block_span(demand.wanted, BLOCK):
                content = bytearray(block_range(number, BLOCK, SIZE).length)
                if number == 0:
                    content[: len(head)] = head
                demand.deliver(number, Block(memoryview(content)))
            demand.finished()
        self.demands.clear()

    def fail(self, error: BacklotError) -> None:
        """No demand is met."""
        for demand in self.demands:
            demand.fail(error)
            demand.finished()


class WalkStore(NotedStore):
    """Notes the sources of prefetches, also of files that are not open, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[str] = []

    def prefetch(
        self,
        version: SourceVersion,
        ahead: ByteRange,
        still_wanted: StillWanted,  # noqa: ARG002  # the names are those of the loader
        *,
        before_open: bool = False,
    ) -> None:
        assert ahead.stop <= version.size
        assert before_open == (version.embed_code != self.demands[-1].embed_code)
        if version.embed_code not in self.codes:
            self.codes.append(version.embed_code)

    def demand(
        self, version: SourceVersion, wanted: ByteRange, span: ReadSpan | None = None
    ) -> PendingRead:
        demand = super().demand(version, wanted, span)
        demand.embed_code = version.embed_code
        return demand


class File(NamedTuple):
    """A file of a folder."""

    embed_code: str
    name: str
    inode: int


def reader_over(
    store: NotedStore, clock: ManualClock, versions: Sequence[SourceVersion] = ()
) -> SourceReader:
    """A reader with memory for every window.

    :param versions: the files of the folder in which files are opened.
    """
    prefetchers = PrefetcherRegistry(clock, window_budget_bytes=96 * MIB, block_bytes=BLOCK)
    walks = WalkPrefetcher(
        store,
        prefetchers,
        clock,
        version_of={version.embed_code: version for version in versions}.get,
        stats_of=lambda _code: None,
        workers=InlineWorkers(),
    )
    files = [File(version.embed_code, version.embed_code, n) for n, version in enumerate(versions)]
    walks.folder_of = lambda _code, _near, _most: FolderOrders(1, files) if files else None
    return SourceReader(HandleTable(), store, prefetchers, walks)


def begin(reader: SourceReader, fh: int, offset: int, size: int) -> PendingRead | None:
    """A read that is answered, or waited for."""
    demand = reader.begin(fh, offset, size)
    if demand is not None:
        demand.look_ahead()
    return demand


class Reading:
    """A reader over a noted store."""

    def __init__(self) -> None:
        self.store = NotedStore()
        self.clock = ManualClock()
        self.reader = reader_over(self.store, self.clock)

    def open(self, name: str = "", size: int = SIZE) -> int:
        """A handle."""
        return self.reader.open(source_version(size=size), name=name)

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """A read that is answered, or waited for."""
        return begin(self.reader, fh, offset, size)

    def ahead(self) -> list[ByteRange]:
        """What was prefetched since the last look."""
        found = [ahead for ahead, _ in self.store.ahead]
        self.store.ahead.clear()
        return found


MP4_HEAD = struct.pack(">I4s16x", 24, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 19 * GIB)


def test_handles_of_one_version_share_a_plan() -> None:
    """What one has begun, another goes on with."""
    reading = Reading()
    one, other = reading.open(), reading.open()
    reading.begin(one, GIB, READ)
    assert reading.ahead() == []
    reading.begin(other, GIB + READ, READ)
    assert reading.ahead()


def test_the_question_of_a_prefetch_goes_on_after_the_close() -> None:
    """For a moment: wanted while open and a little longer, unless the reader has sought."""
    reading = Reading()
    fh = reading.open()
    reading.begin(fh, 0, READ)
    ahead, wanted = reading.store.ahead[-1]
    assert wanted(ahead)
    reading.reader.release(fh)
    assert wanted(ahead)
    reading.clock.advance(CLOSE_GRACE_S)
    assert not wanted(ahead)


def test_the_index_of_a_recording_comes_early() -> None:
    """A cold read of its head brings its end at once, then what the head says is the index."""
    reading = Reading()
    fh = reading.open("Clip.MP4")
    reading.begin(fh, 0, 4096)
    assert ByteRange(SIZE - TAIL_BYTES, SIZE) in reading.ahead()
    reading.store.land(MP4_HEAD)
    index = 24 + 19 * GIB
    assert reading.ahead() == [ByteRange(index, index + INDEX_BYTES)]


def test_the_head_is_looked_at_once() -> None:
    """By whichever handle comes first."""
    reading = Reading()
    for fh in (reading.open("a.mp4"), reading.open("a.mp4")):
        reading.begin(fh, 0, 4096)
        reading.store.land(MP4_HEAD)
    starts = [ahead.start for ahead in reading.ahead()]
    assert starts.count(24 + 19 * GIB) == 1
    assert starts.count(SIZE - TAIL_BYTES) == 1


@pytest.mark.parametrize("offset", [4096, GIB])
def test_random_readers_get_no_index(offset: int) -> None:
    """Only what is read from its head is likely to be looked through."""
    reading = Reading()
    reading.begin(reading.open("a.mp4"), offset, 4096)
    reading.store.land(MP4_HEAD)
    assert reading.ahead() == []


def test_small_and_cached_files_get_no_index() -> None:
    """Their ends come, or came, anyway."""
    reading = Reading()
    reading.begin(reading.open("a.mp4", 20 * MIB), 0, 4096)
    reading.store.land(MP4_HEAD)
    reading.store.cached = True
    reading.begin(reading.open("b.mp4"), 0, 4096)
    reading.store.land(MP4_HEAD)
    assert all(ahead.stop <= MIB for ahead in reading.ahead())


def test_a_head_that_does_not_come_is_no_matter() -> None:
    """The read has its error, and nothing else happens."""
    reading = Reading()
    demand = reading.begin(reading.open("a.mp4"), 0, 4096)
    reading.ahead()
    reading.store.fail(RemoteUnavailable("down"))
    assert demand is not None
    assert isinstance(demand.error, RemoteUnavailable)
    assert reading.ahead() == []


def test_who_wants_little_gets_nothing_ahead() -> None:
    """Other readers of the file are planned for as ever."""
    store = NotedStore()
    reader = reader_over(store, ManualClock())
    opened = reader.open(source_version(size=SIZE), name="a.mov", no_prefetch=True)
    for offset in range(0, 8 * READ, READ):
        begin(reader, opened, offset, READ)
    assert store.ahead == []
    other = reader.open(source_version(size=SIZE), name="a.mov")
    begin(reader, other, 0, READ)
    assert store.ahead


def test_who_reads_whole_files_gets_a_large_window_at_once() -> None:
    """Others have to read on first; so has a program that read a part of its last file."""
    store = NotedStore()
    reader = reader_over(store, ManualClock())

    def ahead_bytes(*, reads_whole: bool, then: int | None = None) -> int:
        store.ahead.clear()
        version = source_version(f"F{len(store.demands)}", size=SIZE)
        opened = reader.open(version, reads_whole=reads_whole)
        begin(reader, opened, 0, READ)
        found = sum(ahead.length for ahead, _ in store.ahead)
        if then is not None:
            begin(reader, opened, then, READ)
        reader.release(opened)
        return found

    assert ahead_bytes(reads_whole=False) <= MIB
    for then in (None, GIB):  # it reads only the head, or also another place
        reader = reader_over(store, ManualClock())
        assert ahead_bytes(reads_whole=True, then=then) >= 16 * MIB
        assert ahead_bytes(reads_whole=True) <= MIB


def test_who_wants_little_does_not_tell_how_the_next_file_is_read() -> None:
    """Previews of a folder that is being copied do not slow the copy down."""
    store = NotedStore()
    store.cached = True
    reader = reader_over(store, ManualClock())
    for number in range(2):
        whole = reader.open(source_version(f"W{number}", size=READ))
        begin(reader, whole, 0, READ)
        reader.release(whole)
    for number in range(3):
        reader.release(reader.open(source_version(f"P{number}", size=SIZE), no_prefetch=True))
    begin(reader, reader.open(source_version("N", size=SIZE)), 0, READ)
    assert sum(ahead.length for ahead, _ in store.ahead) > 4 * MIB


def test_the_next_files_are_fetched_after_the_rest_of_the_open_one() -> None:
    """Otherwise they would take the connections that its reader waits for."""
    store = WalkStore()
    versions = [source_version(f"E{number}", size=20 * MIB) for number in range(4)]
    reader = reader_over(store, ManualClock(), versions)
    for version in versions[:2]:
        store.codes.clear()
        opened = reader.open(version, reads_whole=True)
        assert store.codes == []
        begin(reader, opened, 0, READ)
        assert store.codes[0] == version.embed_code
        assert len(store.codes) > 1
        begin(reader, opened, READ, 20 * MIB - READ)
        reader.release(opened)
