# SPDX-License-Identifier: Apache-2.0
"""The time of each folder: which changes of the library move it, over re-mounts too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from backlotfs.api.records import Label
from backlotfs.catalog import library as listing
from backlotfs.catalog.db.captions import Caption
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.folders import KEPT_VIEWS, FolderTime, folder_times
from backlotfs.catalog.db.rows import AssetRow, CatalogUnavailable
from backlotfs.catalog.db.table import AssetTable
from backlotfs.catalog.folder_times import FolderTimes
from backlotfs.namespace.namespace import Namespace, Provider
from backlotfs.namespace.providers.sidecars import CaptionSidecars, JsonSidecars
from backlotfs.namespace.tree import Folder, folders_below
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S, waiter
from tests.support.long_runs import few_of
from tests.unit.catalog_db.catalogs import open_db
from tests.unit.namespace.around import Around
from tests.unit.namespace.made_rows import JANUARY_S, made_label, made_row

DAY_S = 86_400
MAY_S = JANUARY_S + 100 * DAY_S


class Captions:
    """Which assets have captions, and of which kind."""

    def __init__(self) -> None:
        self.version = 0
        self.kinds: dict[str, str] = {}

    def known(self, embed_code: str) -> Caption | None:
        """As `CaptionIndex.known`."""
        kind = self.kinds.get(embed_code)
        return None if kind is None else Caption(kind, 7, 1500)

    def found(self, embed_code: str, kind: str) -> None:
        """The API told of captions."""
        self.kinds[embed_code] = kind
        self.version += 1


@dataclass
class Library:
    """What the API lists: `a` and `c` are races, `b` is music, `d` has no label."""

    rows: dict[str, AssetRow] = field(
        default_factory=lambda: {
            "A": made_row("A"),
            "B": made_row("B", created_at_s=MAY_S),
            "C": made_row("C", created_at_s=MAY_S),
            "D": made_row("D"),
        }
    )
    labels: list[Label] = field(
        default_factory=lambda: [
            made_label("L1", "Racing"),
            made_label("L2", "Music"),
            made_label("L3", "Laps", "L1"),
        ]
    )
    members: dict[str, list[str]] = field(
        default_factory=lambda: {"L1": ["A"], "L2": ["B"], "L3": ["C"]}
    )
    captions: Captions = field(default_factory=Captions)
    called: dict[int, str] = field(default_factory=dict)  # folders by inode, as first seen

    def edit(self, code: str, **fields: Any) -> None:
        """Other fields of a row."""
        self.rows[code] = self.rows[code]._replace(**fields)

    def label(self, label_id: str, **fields: Any) -> None:
        """Another label in the place of one."""
        self.labels = [
            replace(label, **fields) if label.id == label_id else label for label in self.labels
        ]


class Host:
    """A host with a cache folder, on which the library is mounted again and again."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.clock.wall_s = float(MAY_S + 1000 * DAY_S)
        self.folder = folder
        self.library = Library()

    def mount(self, *layouts: str, db: CatalogDb, beside: str = "", missing: bool = False) -> Mount:
        """As a new process would."""
        return Mount(self, db, layouts, beside, missing)

    def open(self) -> CatalogDb:
        """The catalog."""
        return open_db(self.folder, self.clock)

    def later(self, seconds: float = 60) -> int:
        """The time passes; what it is then."""
        self.clock.advance(seconds)
        return int(self.clock.now())


class Mount:
    """One mount; its folders' times are those that ``stat`` shows."""

    def __init__(
        self, host: Host, db: CatalogDb, layouts: tuple[str, ...], beside: str, missing: bool
    ) -> None:
        self.library = host.library
        self.around = Around()
        self.around.folder_times = FolderTimes(db, host.clock)
        self.sync()
        captions: Any = self.library.captions
        parts = self.around.parts
        providers: list[Provider] = []
        if "json" in beside:
            providers.append(JsonSidecars(parts, parts))
        if "captions" in beside:
            providers.append(CaptionSidecars(captions))
        self.namespace: Namespace = self.around.shown(
            *providers, layouts=layouts, include_unavailable=missing
        )
        self.saved()

    def sync(self) -> None:
        """Publish the library as it is now."""
        self.around.labels = tuple(self.library.labels)
        self.around.members = self.library.members
        self.around.publish(*self.library.rows.values())

    def saved(self) -> None:
        """Wait until the times are in the catalog."""
        for thread in threading.enumerate():
            if thread.name == "folder-times":
                thread.join(PATIENCE_S)

    def times(self) -> dict[str, int]:
        """Path to time, of every folder; a folder that was seen before is called as then."""
        found = {}
        for path in self._paths("", self.namespace.root):
            folder = self.namespace.attributes(self.namespace.find(path), waiter)
            found[self.library.called.setdefault(folder.inode, path)] = folder.mtime_s
        self.saved()
        return found

    def _paths(self, path: str, folder: Folder) -> Iterator[str]:
        yield path or "/"
        for name, below in folder.folders():
            yield from self._paths(f"{path}/{name}", below)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """With an empty cache folder."""
    return Host(tmp_path)


def upload(library: Library) -> None:
    """A new asset with the label Racing, in a month that is there."""
    library.rows["E"] = made_row("E")
    library.members["L1"] = [*library.members["L1"], "E"]


def upload_of_today(library: Library) -> None:
    """A new asset in a new month of a new year."""
    library.rows["E"] = made_row("E", created_at_s=MAY_S + 900 * DAY_S)


def move(library: Library) -> None:
    """From Racing to Music."""
    library.members |= {"L1": [], "L2": ["B", "A"]}


def second_label(library: Library) -> None:
    """In Racing, and in Music as well."""
    library.members["L2"] = ["B", "A"]


def remove(library: Library) -> None:
    """Deleted, or not admitted any more by --type or --status."""
    del library.rows["A"]


def swap(library: Library) -> None:
    """One asset goes and another comes, which gets its name: another file."""
    del library.rows["A"]
    library.rows["E"] = made_row("E", "A.mov")
    library.members["L1"] = ["E"]


def edit(library: Library) -> None:
    """Another title, description, …: the record is touched."""
    library.edit("A", updated_at_s=MAY_S + 5, verified=0)


def rename(library: Library) -> None:
    """--names always-id: the name follows the title."""
    library.edit("A", name="new title [A].mov")


def replace_source(library: Library) -> None:
    """Other bytes of another size and time."""
    library.edit("A", size=999, etag='"new"', mtime_s=MAY_S + 7)


def probe(library: Library) -> None:
    """A size is not known any more, or is known at last."""
    library.edit("A", size=-1, verified=0)


def lose_source(library: Library) -> None:
    """The asset has no source: its file is not listed."""
    library.edit("A", size=-1, missing=1)


def rename_label(library: Library) -> None:
    """Racing is called Sport."""
    library.label("L1", name="Sport")


def rename_labels_crosswise(library: Library) -> None:
    """Racing is called Music, Music is called Racing."""
    library.label("L1", name="Music")
    library.label("L2", name="Racing")


def rename_lower_label(library: Library) -> None:
    """Laps is called Rounds."""
    library.label("L3", name="Rounds")


def move_label(library: Library) -> None:
    """Laps goes from Racing to Music."""
    library.label("L3", parent_id="L2")


def make_label(library: Library) -> None:
    """A label without assets."""
    library.labels.append(made_label("L4", "New"))


def remove_label(library: Library) -> None:
    """Music goes; what was in it has no label then."""
    library.labels = [label for label in library.labels if label.id != "L2"]
    del library.members["L2"]


def turn_around(library: Library) -> None:
    """The API lists everything in another order (as a full sync may find it)."""
    library.rows = dict(reversed(library.rows.items()))
    library.labels.reverse()


def nothing(_library: Library) -> None:
    """A refresh that brings no news."""


#: Options, change, the folders that move (those that are new among them).
MEMBERS: list[tuple[str, Callable[[Library], None], set[str]]] = [
    ("labels", upload, {"/Racing"}),
    ("labels", move, {"/Racing", "/Music"}),
    ("labels", second_label, {"/Music"}),
    ("labels", remove, {"/Racing"}),
    ("labels", swap, {"/Racing"}),
    ("labels", edit, set()),
    ("labels", rename, {"/Racing"}),
    ("labels", replace_source, set()),
    ("labels", probe, set()),
    ("labels", lose_source, {"/Racing"}),
    ("labels missing", lose_source, set()),
    ("labels", rename_label, {"/"}),
    ("labels", rename_labels_crosswise, {"/"}),
    ("labels", rename_lower_label, {"/Racing"}),
    ("labels", move_label, {"/Racing", "/Music"}),
    ("labels", make_label, {"/", "/New"}),
    ("labels", remove_label, {"/", "/Unlabeled"}),
    ("labels", turn_around, set()),
    ("labels", nothing, set()),
    ("labels json", edit, set()),
    ("labels json", upload, {"/Racing"}),
    ("labels captions", edit, set()),
    ("labels captions", upload, {"/Racing"}),
    ("flat", upload, {"/"}),
    ("flat", remove, {"/"}),
    ("flat", swap, {"/"}),
    ("flat", rename, {"/"}),
    ("flat", lose_source, {"/"}),
    ("flat", move, set()),
    ("flat", edit, set()),
    ("flat", replace_source, set()),
    ("flat", turn_around, set()),
    ("by-id", upload, {"/"}),
    ("by-id", remove, {"/"}),
    ("by-id", rename, set()),  # only the extension is of the name
    ("dates", upload, {"/2013/01"}),
    ("dates", upload_of_today, {"/", "/2015", "/2015/10"}),
    ("dates", remove, {"/2013/01"}),
    ("dates", move, set()),
    ("dates", edit, set()),
    ("flat,labels,dates", upload, {"/flat", "/labels/Racing", "/dates/2013/01"}),
    ("flat,labels,dates", move, {"/labels/Racing", "/labels/Music"}),
    ("flat,labels,dates", remove, {"/flat", "/labels/Racing", "/dates/2013/01"}),
    ("flat,labels,dates", rename_label, {"/labels"}),
]


@pytest.mark.parametrize(
    "mounted", few_of([True, False], False), ids=["under a mount", "between two mounts"]
)
@pytest.mark.parametrize(("options", "change", "moving"), MEMBERS)
def test_which_changes_move_which_folders(
    host: Host, options: str, change: Callable[[Library], None], moving: set[str], mounted: bool
) -> None:
    """Those of the table and no other, once; a later mount shows the same times."""
    layouts, _, more = options.partition(" ")
    shown = {"beside": more, "missing": "missing" in more}
    chosen = layouts.split(",")
    with closing(host.open()) as db:
        mount = host.mount(*chosen, db=db, **shown)  # type: ignore[arg-type]
        before = mount.times()
        assert max(before.values()) <= MAY_S
        now = host.later()
        change(host.library)
        if mounted:
            mount.sync()
            after = mount.times()
    if not mounted:
        with closing(host.open()) as db:
            after = host.mount(*chosen, db=db, **shown).times()  # type: ignore[arg-type]
    assert {path for path, time in after.items() if before.get(path) != time} == moving
    assert {after[path] for path in moving} <= {now}
    host.later()
    with closing(host.open()) as db:
        assert host.mount(*chosen, db=db, **shown).times() == after  # type: ignore[arg-type]


def test_captions_move_the_folder_of_their_file(host: Host) -> None:
    """As they are found and change their kind; looked at again after a while only."""
    library = host.library
    with closing(host.open()) as db:
        mount = host.mount("labels", "flat", db=db, beside="json captions")
        before = mount.times()
        for kind, moved in (("vtt", True), ("vtt", False), ("srt", True)):
            now = host.later()
            library.captions.found("A", kind)
            after = mount.times()
            changed = {path for path in after if after[path] != before[path]}
            assert changed == ({"/labels/Racing", "/flat"} if moved else set())
            assert not moved or after["/flat"] == now
            before = after
    with closing(host.open()) as db:
        assert host.mount("labels", "flat", db=db, beside="json captions").times() == before


def test_two_changes_within_a_second(host: Host) -> None:
    """A program that looked between them sees another time; also with a clock that was put back."""
    with closing(host.open()) as db:
        mount = host.mount("flat", db=db)
        host.later()
        seen = [mount.times()["/"]]
        for code in "EFGH":
            host.library.rows[code] = made_row(code)
            mount.sync()
            seen.append(mount.times()["/"])
        host.clock.wall_s -= 5000
        host.library.rows.pop("H")
        mount.sync()
        seen.append(mount.times()["/"])
    assert seen == sorted(set(seen))


def test_another_view_has_its_own_times(host: Host) -> None:
    """Its first mount knows no earlier one; few views are kept, and no folder that is gone."""
    with closing(host.open()) as db:
        host.mount("labels", db=db)
        host.later()
        remove_label(host.library)
        times = host.mount("labels", db=db).times()
        first = host.mount("labels", db=db, missing=True).times()
        assert times["/Unlabeled"] > MAY_S >= max(first.values())
        for layouts in _many_views():
            host.mount(*layouts, db=db)
        rows = db.read(lambda connection: connection.execute(
            "SELECT count(DISTINCT view), max(n) FROM"
            " (SELECT view, count(*) AS n FROM folder_time GROUP BY view)").fetchone())  # fmt: skip
        assert rows[0] == KEPT_VIEWS
        assert rows[1] < 20


def _many_views() -> Iterator[tuple[str, ...]]:
    every = ("flat", "labels", "dates", "by-id")
    for first in every:
        for second in every:
            if first != second:
                yield first, second


def test_two_mounts_of_one_catalog(host: Host) -> None:
    """What both notice has one time, at the next mount too: that of the first."""
    with closing(host.open()) as db, closing(host.open()) as other_db:
        mount, other = host.mount("labels", db=db), host.mount("labels", db=other_db)
        upload(host.library)
        make_label(host.library)
        host.later()
        mount.sync()
        times = mount.times()
        host.later(5000)
        other.sync()
        assert other.times() == times
        host.later()
        host.library.rows.pop("D")
        other.sync()
        assert other.times()["/Unlabeled"] > times["/Unlabeled"]
    with closing(host.open()) as db:
        assert host.mount("labels", db=db).times() == {
            **times,
            "/Unlabeled": other.times()["/Unlabeled"],
        }


def test_a_mount_that_has_not_heard_of_a_change(host: Host) -> None:
    """It does not undo what another mount has saved meanwhile, nor forget a folder made since."""
    with closing(host.open()) as db, closing(host.open()) as other_db:
        mount, other = host.mount("labels", db=db), host.mount("labels", db=other_db)
        host.later()
        remove(host.library)
        other.sync()  # and is not used yet
        upload(host.library)
        make_label(host.library)
        mount.sync()
        times = mount.times()
        host.later()
        other.times()
        host.later()
    with closing(host.open()) as db:
        again = host.mount("labels", db=db).times()
        assert again["/New"] == times["/New"]
        assert again["/"] == times["/"]


def test_a_catalog_that_was_lost(host: Host, tmp_path: Path) -> None:
    """A view that is not in the catalog any more is saved whole with the next change."""
    with closing(host.open()) as db:
        mount = host.mount("labels", db=db)
        host.later()
        upload(host.library)
        mount.sync()
        mount.times()
        db.write(lambda connection: connection.execute("DELETE FROM folder_time"))
        host.later()
        make_label(host.library)
        mount.sync()
        times = mount.times()
    with closing(host.open()) as db:
        assert host.mount("labels", db=db).times() == times


@pytest.mark.parametrize("ends", [False, True])
def test_a_catalog_that_cannot_be_written(
    host: Host, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times are in memory; they are saved with the next change, or as the mount ends."""

    def refuse(*_of: object) -> None:
        raise CatalogUnavailable("disk full")

    with closing(host.open()) as db:
        mount = host.mount("labels", db=db)
        with monkeypatch.context() as patch:
            patch.setattr(CatalogDb, "write", refuse)
            upload(host.library)
            first = host.later()
            mount.sync()
            assert mount.times()["/Racing"] == first
        host.later()
        if ends:
            mount.around.folder_times.close()
        else:
            make_label(host.library)
            mount.sync()
        times = mount.times()
    with closing(host.open()) as db:
        assert host.mount("labels", db=db).times() == times
        assert times["/Racing"] == first


def saving_threads() -> list[threading.Thread]:
    """Those that save times now."""
    return [one for one in threading.enumerate() if one.name == "folder-times"]


def join(threads: list[threading.Thread]) -> None:
    """Wait until they have ended."""
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_many_folders_that_change_while_the_catalog_is_slow(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not have a thread each: one saves, and one waits to save the rest."""
    released = threading.Event()
    write: Any = CatalogDb.write

    def slow(*of: Any) -> Any:
        released.wait(PATIENCE_S)
        return write(*of)

    with closing(host.open()) as db:
        times = FolderTimes(db, host.clock)
        times.update({inode: FolderTime(inode, MAY_S) for inode in range(300)})
        times.close()
        join(saving_threads())
        with monkeypatch.context() as patch:
            patch.setattr(CatalogDb, "write", slow)
            for inode in range(300):
                times.incomplete(inode)
            threads = saving_threads()
            released.set()
            join(threads)
        assert len(threads) <= 2
        saved = db.read(folder_times, "")
    assert [folder.entries < 0 for folder in saved.values()] == [True] * 300


def test_before_the_first_listing(host: Host) -> None:
    """An empty library that nobody has listed yet is no state to compare with."""
    with closing(host.open()) as db:
        around = Around()
        around.folder_times = FolderTimes(db, host.clock)
        around.library = listing.Library(0, AssetTable(), (), {})
        namespace = around.shown()
        assert namespace.attributes(namespace.find("/"), waiter).mtime_s == 0
        host.later()
        around.publish(*host.library.rows.values())
        assert namespace.attributes(namespace.find("/"), waiter).mtime_s == MAY_S


class Hides:
    """--unsized hide."""

    def treatment(self, seconds: Callable[[], float]) -> Any:
        """Not asked."""

    def hides(self, _seconds: float | None) -> bool:
        """Every program."""
        return True


def hiding(host: Host, db: CatalogDb) -> tuple[Around, Namespace]:
    """A mount that does not list files of unknown size."""
    rules: Any = Hides()
    around = Around()
    around.folder_times = FolderTimes(db, host.clock)
    around.publish(*host.library.rows.values())
    return around, around.shown(rules=rules)


def test_an_upload_into_a_folder_that_is_shown_in_part(host: Host) -> None:
    """Moves it, though there is always a file of unknown size: uploads come one after the other."""
    with closing(host.open()) as db:
        around, namespace = hiding(host, db)
        seen = [namespace.attributes(namespace.find("/"), waiter).mtime_s]
        for code in "EFGH":
            for other in host.library.rows:
                host.library.edit(other, size=700, verified=1)
            host.library.rows[code] = made_row(code)._replace(size=-1, verified=0)
            around.publish(*host.library.rows.values())
            host.later()
            seen.append(namespace.attributes(namespace.find("/"), waiter).mtime_s)
            assert f"{code}.mov" not in [
                entry.name for entry in namespace.entries(namespace.find("/"))
            ]
        assert seen == sorted(set(seen))


def test_a_folder_is_complete_in_the_next_mount(host: Host) -> None:
    """A part of it was shown before: it moves."""
    host.library.edit("A", size=-1, verified=0)
    with closing(host.open()) as db:
        around, namespace = hiding(host, db)
        before = namespace.attributes(namespace.find("/"), waiter).mtime_s
        assert "A.mov" not in [entry.name for entry in namespace.entries(namespace.find("/"))]
        around.folder_times.close()
    host.library.edit("A", size=700, verified=1)
    now = host.later()
    with closing(host.open()) as db:
        _, namespace = hiding(host, db)
        assert before < namespace.attributes(namespace.find("/"), waiter).mtime_s == now


def test_a_listing_that_was_incomplete(host: Host) -> None:
    """A folder moves once a program that was shown a part of it can be shown the whole."""
    host.library.edit("A", size=-1, verified=0)
    with closing(host.open()) as db:
        around, namespace = hiding(host, db)
        before = namespace.attributes(namespace.find("/"), waiter).mtime_s
        host.later()
        assert "A.mov" not in [entry.name for entry in namespace.entries(namespace.find("/"))]
        around.publish(*host.library.rows.values())
        assert namespace.attributes(namespace.find("/"), waiter).mtime_s == before
        for code in host.library.rows:
            host.library.edit(code, size=700, verified=1)
        around.publish(*host.library.rows.values())
        now = host.later()
        assert namespace.attributes(namespace.find("/"), waiter).mtime_s == now
        assert "A.mov" in [entry.name for entry in namespace.entries(namespace.find("/"))]


def test_folders_in_folders_without_end() -> None:
    """Labels nest as deep as they like: no recursion."""
    labels = tuple(made_label(f"L{n}", "deep", f"L{n - 1}" if n else None) for n in range(5000))
    around = Around(made_row("A"), labels=labels, layouts=("labels",))
    assert sum(1 for _ in folders_below(around.namespace.root)) == 5002
