# SPDX-License-Identifier: Apache-2.0
"""Files are fetched before they are opened, behind open files, and dropped if that was wrong."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple, cast

from backlotfs.api.rate_limiter import Priority
from backlotfs.byterange import ByteRange
from backlotfs.cache.memory import BlockCache, BlockPool
from backlotfs.fetch.hosts import FetchScheduler
from backlotfs.fetch.loader import BlockLoader, FetchSettings, StillWanted
from backlotfs.open_files.walk_prefetch import URLS_AT_ONCE, WalkPrefetcher
from backlotfs.prefetch.registry import PrefetcherRegistry
from backlotfs.prefetch.walk_planner import FolderOrders
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version
from tests.fakes.sources import OneHost, fetch_at_once
from tests.fakes.workers import InlineWorkers
from tests.support.deadlines import wait_until

MIB = 1 << 20
COUNT = 30


class File(NamedTuple):
    """A file of the folder."""

    embed_code: str
    name: str
    inode: int


class NotedLoader(BlockLoader):
    """Notes what is fetched ahead, and fetches nothing."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(
            BlockCache(BlockPool(MIB, 1024), keep_consumed=1),
            FetchSettings(fetch_at_once, clock),
            FetchScheduler(InlineWorkers(), OneHost(), clock),
            prefetch_budget_bytes=MIB,
            changed=lambda _version: None,
        )
        self.ahead: dict[str, StillWanted] = {}
        self.parts: dict[str, list[ByteRange]] = {}

    def prefetch(
        self,
        version: SourceVersion,
        ahead: ByteRange,
        still_wanted: StillWanted,
        *,
        before_open: bool = False,
    ) -> None:
        assert before_open
        assert 0 <= ahead.start < ahead.stop <= version.size
        self.ahead[version.embed_code] = still_wanted
        self.parts.setdefault(version.embed_code, []).append(ahead)

    @property
    def wanted(self) -> set[str]:
        """The files whose fetches would go on."""
        whole = ByteRange(0, MIB)
        return {code for code, still_wanted in self.ahead.items() if still_wanted(whole)}


class Walk:
    """A folder, and programs that open its files.

    :ivar versions: the verified versions.
    :ivar asked: the priorities of the URLs that were asked for.
    """

    def __init__(self, *, free: bool = True) -> None:
        self.versions = {f"E{n}": source_version(f"E{n}", MIB) for n in range(COUNT)}
        self.asked: list[Priority] = []
        self.clock = ManualClock()
        self.loader = NotedLoader(self.clock)
        self.prefetchers = PrefetcherRegistry(
            self.clock, window_budget_bytes=96 * MIB, block_bytes=64 * 1024
        )
        self.walks = WalkPrefetcher(
            self.loader,
            self.prefetchers,
            self.clock,
            version_of=self.versions.get,
            stats_of=lambda _code: None,
            urls=cast(
                UrlResolver, SimpleNamespace(is_free=lambda _code: free, resolve=self._resolve)
            ),
            workers=InlineWorkers(),
        )
        files = [File(f"E{n}", f"{n:02}.mov", n * 7919 % 1009) for n in range(COUNT)]
        self.walks.folder_of = lambda _code, _near, _most: FolderOrders(1, files)

    def _resolve(self, _code: str, _deadline: object, *, priority: Priority) -> None:
        self.asked.append(priority)

    def read(
        self, number: int, program: str = "cp", *, part: int | None = None, whole: bool = False
    ) -> int | None:
        """A program opens a file, reads and closes it; how much of it was expected to be read."""
        version = self.versions[f"E{number}"]
        opened = self.walks.opened(program, version, reads_whole=whole)
        self.walks.read(opened, ByteRange(0, part or version.size))
        self.walks.look_ahead(opened)
        self.walks.closed(opened)
        return opened.expected_bytes


def test_the_next_files_are_fetched() -> None:
    """After two files in a row; of each program by itself."""
    walk = Walk()
    walk.read(0)
    walk.read(20, "rsync")
    assert not walk.loader.ahead
    walk.read(1)
    assert "E2" in walk.loader.wanted
    assert "E21" not in walk.loader.ahead


def test_a_file_is_fetched_by_even_requests() -> None:
    """No request is for a short rest of the file, or of what fits into the window."""
    walk = Walk()
    size = 19 * MIB + 70_000
    walk.versions.update({code: source_version(code, size) for code in walk.versions})
    for number in range(6):
        walk.read(number, whole=True)
    assert {f"E{number}" for number in range(2, 6)} <= set(walk.loader.parts)
    for code, parts in walk.loader.parts.items():
        assert all(after.start == before.stop for before, after in pairwise(parts)), code
        assert min(part.length for part in parts) >= MIB, code
    assert walk.loader.parts["E3"][-1].stop == size


def test_files_that_are_opened_and_not_read() -> None:
    """Their bytes may be in the kernel's cache, and those of the next files as well."""
    walk = Walk()
    for number in range(2):
        walk.read(number)
    assert "E3" in walk.loader.ahead
    walk.loader.ahead.clear()
    for number in range(2, COUNT - 10):
        walk.walks.closed(walk.walks.opened("cp", walk.versions[f"E{number}"]))
    assert not walk.loader.ahead
    walk.read(COUNT - 10, "cp", whole=True)
    assert {f"E{COUNT - 9}", f"E{COUNT - 8}"} <= walk.loader.wanted


def test_a_file_that_is_closed_before_the_plan() -> None:
    """A small file may be closed as soon as the answer is written."""
    walk = Walk()
    for number in range(2):
        opened = walk.walks.opened("cp", walk.versions[f"E{number}"])
        walk.walks.read(opened, ByteRange(0, MIB))
        walk.walks.closed(opened)
        walk.walks.look_ahead(opened)
    assert {"E2", "E3"} <= walk.loader.wanted


def test_the_first_file_of_a_copy() -> None:
    """The next file is fetched; the folder is not sorted if it is so large that this takes long."""
    walk = Walk()
    walk.versions.update({code: source_version(code, 20 * MIB) for code in walk.versions})
    find = walk.walks.folder_of
    walk.walks.folder_of = lambda *asked: find(*asked) if asked[2] > 9999 else None
    walk.read(0, "tar", whole=True)
    assert not walk.loader.ahead
    walk.read(1, "tar", whole=True)
    assert "E2" in walk.loader.wanted
    walk.walks.folder_of = find
    walk.loader.ahead.clear()
    walk.read(0, "less")
    assert not walk.loader.ahead
    walk.read(0, "cp", whole=True)
    assert walk.loader.wanted == {"E1"}
    walk.read(1, "cp", whole=True)
    assert {"E2", "E3"} <= walk.loader.wanted


def test_a_wrong_guess_is_dropped() -> None:
    """The fetches end when the program opens something else."""
    walk = Walk()
    for number in (0, 1):
        walk.read(number)
    assert "E3" in walk.loader.wanted
    walk.read(25)
    assert not walk.loader.wanted


def test_a_wrong_guess_that_another_program_reads() -> None:
    """Its fetch goes on as long as a reader needs it: the bytes would be fetched again."""
    walk = Walk()
    for number in (0, 1):
        walk.read(number)
    reader = walk.prefetchers.opened(walk.versions["E3"])
    reader.observe(ByteRange(0, 64 * 1024), missed=False, late=True, reader=1)
    walk.read(25)
    assert walk.loader.wanted == {"E3"}
    reader.closed()
    walk.clock.advance(60)
    assert not walk.loader.wanted


def test_what_the_last_files_say_of_the_next() -> None:
    """How much of it is read: all, the same head, or nobody knows."""
    walk = Walk()
    assert walk.read(0) is None
    assert walk.read(1) == MIB
    assert walk.read(2, part=1000) == MIB
    assert walk.read(3, part=1000) is None
    assert walk.read(4, part=1000) == 1000


def test_a_version_that_is_not_verified() -> None:
    """It is not fetched ahead: the open may find another one."""
    walk = Walk()
    del walk.versions["E3"]
    for number in (0, 1):
        walk.read(number)
    assert {"E2", "E4"} <= walk.loader.wanted
    assert "E3" not in walk.loader.ahead


def test_urls_that_cost_a_credit() -> None:
    """They are asked for when nobody waits for a credit, and a few at a time."""
    walk = Walk(free=False)
    for number in (0, 1):
        walk.read(number)
    wait_until(lambda: bool(walk.loader.ahead), "a file ahead")
    assert 1 <= len(walk.asked) <= 2 * URLS_AT_ONCE
    assert set(walk.asked) == {Priority.BACKGROUND}


def test_the_share_of_the_memory() -> None:
    """A program with files ahead has one window; a while after its last open it has none."""
    walk = Walk()
    assert walk.walks.windows(walk.clock.monotonic()) == []
    for number in (0, 1):
        walk.read(number)
    assert len(walk.walks.windows(walk.clock.monotonic())) == 1
    walk.clock.advance(60)
    assert walk.walks.windows(walk.clock.monotonic()) == []
