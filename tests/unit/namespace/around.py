# SPDX-License-Identifier: Apache-2.0
"""A namespace over a catalog, a version cache and a probe scheduler that the test controls."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from concurrent.futures import Future
from itertools import chain
from typing import Any

from backlotfs.api.records import Asset, Label
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.db.table import AssetTable
from backlotfs.catalog.folder_times import FolderTimes
from backlotfs.catalog.library import Library, Presented
from backlotfs.catalog.versions import ProbedSource
from backlotfs.config.settings import NameMode
from backlotfs.errors import BacklotError, NoSuchEntry, NotADirectory
from backlotfs.namespace.attributes import Attributes, file_attributes
from backlotfs.namespace.namespace import Namespace, Provider, TreeOptions
from backlotfs.namespace.sizes import UnsizedRules
from backlotfs.namespace.tree import Entry, Folder, StartWait, VirtualFile
from tests.fakes.clocks import ManualClock
from tests.fakes.records import asset, source_version

KNOWN = ProbedSource(source_version("A", 700), 1234, verified=True)


def content_at(namespace: Namespace, path: str, start_wait: StartWait) -> bytes | None:
    """The bytes of the virtual file at a path; None: there is something else, or nothing."""
    try:
        found = namespace.find(path)
    except (NoSuchEntry, NotADirectory):
        return None
    return namespace.content(found, start_wait) if isinstance(found, VirtualFile) else None


def is_virtual(namespace: Namespace, path: str) -> bool:
    """Whether there is a virtual file at a path."""
    try:
        return isinstance(namespace.find(path), VirtualFile)
    except (NoSuchEntry, NotADirectory):
        return False


class Note(VirtualFile):
    """A file of three bytes."""

    @property
    def inode(self) -> int:
        """The same in every folder."""
        return 99

    def attributes(self, start_wait: StartWait) -> Attributes:
        """With an inode of its own."""
        return file_attributes(99, 3, mtime_s=7, umask=0o022)

    def content(self, start_wait: StartWait) -> bytes:
        """Always the same."""
        return b"abc"


class Notes:
    """A provider of a file called ``note`` in every folder, or in none."""

    subfolders = 0
    version = 0

    def may_add(self, name: str) -> bool:
        """By its name."""
        return name == "note"

    def digest(self, folder: Folder) -> int:
        """One more entry after each change."""
        return self.version

    def find(self, path: str, namespace: Namespace) -> VirtualFile | None:
        """By its name, in a folder of the tree."""
        place, _, name = path.rpartition("/")
        return Note() if name == "note" and namespace.folder_at(place) is not None else None

    def entries(
        self, folder: Folder, lines: Iterator[Entry], namespace: Namespace
    ) -> Iterator[Entry]:
        """Behind all others."""
        return chain(lines, [Entry("note", 99, False)])


class Around:
    """A namespace, and in one object all that it asks."""

    def __init__(
        self,
        *rows: AssetRow,
        labels: tuple[Label, ...] = (),
        members: dict[str, list[str]] | None = None,
        layouts: tuple[str, ...] = ("flat",),
        include_unavailable: bool = False,
        rules: UnsizedRules | None = None,
    ) -> None:
        self.labels, self.members = labels, members or {}
        self.presented = Presented()
        self.folder_times = FolderTimes(self.parts, ManualClock())
        self.library = Library(0, AssetTable(), (), {})
        self.publish(*rows)
        self.uses = 0
        self.probes: list[str] = []
        self.listings: list[list[str]] = []
        self.outcome: ProbedSource | BacklotError | None = KNOWN
        self.learned: dict[str, ProbedSource] = {}
        self.failures: dict[str, BacklotError] = {}
        self.hidden: set[str] = set()
        self.queued: set[str] = set()
        self.seconds: float | None = 0.0
        self.namespace = self.shown(
            layouts=layouts, include_unavailable=include_unavailable, rules=rules
        )

    @property
    def parts(self) -> Any:
        """The catalog, the version cache and the probe scheduler: all are this object."""
        return self

    def shown(
        self,
        *providers: Provider,
        layouts: tuple[str, ...] = ("flat",),
        names: NameMode = NameMode.ORIGINAL,
        include_unavailable: bool = False,
        rules: UnsizedRules | None = None,
    ) -> Namespace:
        """Another namespace of the same library."""
        options = TreeOptions(layouts, names, 0o022, include_unavailable)
        parts = self.parts
        return Namespace(parts, parts, parts, options, providers=providers, rules=rules)

    def publish(self, *rows: AssetRow) -> None:
        """A new version of the library."""
        version = self.library.version + 1
        self.library = Library(version, AssetTable(rows), self.labels, self.members)

    def read(self, *_of: object) -> Any:
        return {}

    def write(self, _work: object, _view: str, known: Any, _changed: object) -> Any:
        return known

    def used(self, wait_s: float = 0.0) -> None:
        self.uses += 1

    def record(self, embed_code: str) -> Asset | None:
        return asset(embed_code, title="Title") if embed_code == "A" else None

    def row(self, embed_code: str) -> AssetRow | None:
        return self.library.rows.get(embed_code)

    def assets(self) -> int:
        return len(self.library.rows)

    def total_size(self) -> int:
        return 12345

    def known(self, embed_code: str, _row: AssetRow | None = None) -> ProbedSource | None:
        return self.learned.get(embed_code)

    def is_current(self, row: AssetRow) -> bool:
        return bool(row.verified) and row.embed_code not in self.learned

    def newer(self) -> Set[str]:
        return self.learned.keys()

    def failure(self, embed_code: str) -> BacklotError | None:
        return self.failures.get(embed_code)

    def unavailable(self, row: AssetRow) -> bool:
        return row.embed_code in self.hidden

    def unavailable_among(self, _rows: Iterable[AssetRow]) -> set[str]:
        return set(self.hidden)

    def request(self, embed_code: str) -> Future[ProbedSource]:
        self.probes.append(embed_code)
        future: Future[ProbedSource] = Future()
        if isinstance(self.outcome, BacklotError):
            future.set_exception(self.outcome)
        elif self.outcome is not None:
            future.set_result(self.outcome)
        return future

    def is_queued(self, embed_code: str) -> bool:
        return embed_code in self.queued

    def seconds_until(self, embed_code: str) -> float:
        return 100.0 if embed_code in self.queued else 0.0

    def seconds_for(self, assets: int) -> float | None:
        return self.seconds

    def prioritize(self, rows: Iterable[AssetRow]) -> None:
        self.listings.append([row.embed_code for row in rows])
