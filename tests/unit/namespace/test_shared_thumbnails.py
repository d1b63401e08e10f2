# SPDX-License-Identifier: Apache-2.0
"""Shared thumbnail repositories of a library, over a catalog and pictures that the test holds."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from backlotfs.api.records import Asset, Label
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import (
    BacklotError,
    Interrupted,
    IsADirectory,
    NoSuchEntry,
    NotADirectory,
    NotSupported,
    RemoteUnavailable,
)
from backlotfs.namespace.namespace import Namespace, Provider
from backlotfs.namespace.providers.sidecars import JsonSidecars
from backlotfs.namespace.providers.thumbnails import Thumbnails, Wanted
from tests.fakes.records import asset, probed_row, row
from tests.fakes.workers import waiter
from tests.unit.namespace.around import Around, content_at, is_virtual

IMAGE = "https://images/a.jpg"


class Painted:
    """Pictures that are their own description; counts what was asked for."""

    sizes = ("normal", "large")

    def __init__(self) -> None:
        self.asked: list[Wanted] = []
        self.error: BacklotError | None = None

    def named(self, name: str) -> Mapping[str, str]:
        return {f"new {name}.png": f"./{name}", f"old {name}.png": name}

    def png(self, wanted: Wanted, waiter: InterruptibleWait) -> bytes:
        assert waiter is not None
        self.asked.append(wanted)
        if self.error is not None:
            raise self.error
        return repr(wanted).encode()


class Illustrated(Around):
    """An `Around` whose assets have preview images, but for those in ``bare``."""

    bare: tuple[str, ...] = ()

    def record(self, embed_code: str) -> Asset | None:
        image = None if embed_code in self.bare else IMAGE
        return replace(asset(embed_code), preview_image_url=image)


def with_thumbnails(
    around: Around,
    pictures: Painted,
    *,
    listed: bool = False,
    sidecars: bool = False,
    layouts: tuple[str, ...] = ("flat",),
) -> Namespace:
    """The library of ``around`` with repositories."""
    parts = around.parts
    beside: list[Provider] = [JsonSidecars(parts, parts)] if sidecars else []
    thumbnails = Thumbnails(parts, parts, pictures, listed=listed)
    return around.shown(*beside, thumbnails, layouts=layouts)


def names(namespace: Namespace, path: str) -> list[str]:
    """A listing."""
    return [entry.name for entry in namespace.entries(namespace.find(path))]


def test_it_answers_and_is_not_listed() -> None:
    """Whoever knows the name finds folders and a picture, of exactly the size that is read."""
    pictures = Painted()
    namespace = with_thumbnails(Illustrated(probed_row("A")), pictures)
    assert names(namespace, "/") == ["clip.mov"]
    for folder in ("/.sh_thumbnails", "/.sh_thumbnails/large"):
        assert stat.S_ISDIR(namespace.attributes(namespace.find(folder), waiter).mode)
        assert content_at(namespace, folder, waiter) is None
    source = namespace.attributes(namespace.find("/clip.mov"), waiter)
    path = "/.sh_thumbnails/large/new clip.mov.png"
    found = namespace.attributes(namespace.find(path), waiter)
    content = content_at(namespace, path, waiter)
    assert content is not None
    assert (found.size, found.mtime_s) == (len(content), source.mtime_s)
    assert found.mode == stat.S_IFREG | 0o644
    assert set(pictures.asked) == {
        Wanted(IMAGE, "./clip.mov", "large", source.size, source.mtime_s)
    }
    assert is_virtual(namespace, path)
    assert not is_virtual(namespace, "/clip.mov")
    assert namespace.xattrs(namespace.find(path)) == {}


def test_what_is_in_a_repository() -> None:
    """The sizes; in each the pictures of the files that have an image, with the inodes of stat."""
    around = Illustrated(probed_row("A"), probed_row("B", "b.mov"), probed_row("C", "c.mov"))
    around.bare, around.hidden = ("B",), {"C"}
    namespace = with_thumbnails(around, Painted())
    assert names(namespace, "/.sh_thumbnails") == ["normal", "large"]
    lines = list(namespace.entries(namespace.find("/.sh_thumbnails/normal")))
    assert [line.name for line in lines] == ["new clip.mov.png", "old clip.mov.png"]
    for line in lines:
        path = f"/.sh_thumbnails/normal/{line.name}"
        assert namespace.attributes(namespace.find(path), waiter).inode == line.inode
    inodes = {line.inode for size in ("normal", "large")
              for line in namespace.entries(namespace.find(f"/.sh_thumbnails/{size}"))}  # fmt: skip
    assert len(inodes) == 4


def test_listed() -> None:
    """Each folder lists its own, and has a link more for it."""
    around = Illustrated(
        probed_row("A"), labels=(Label("1", "Racing", "/Racing", None),), members={"1": ["A"]}
    )
    hidden = with_thumbnails(around, Painted(), layouts=("labels",))
    namespace = with_thumbnails(around, Painted(), listed=True, layouts=("labels",))
    assert names(namespace, "/")[-1] == ".sh_thumbnails" not in names(hidden, "/")
    assert names(namespace, "/Racing") == ["clip.mov", ".sh_thumbnails"]
    assert names(hidden, "/Racing") == ["clip.mov"]
    [line] = [line for line in namespace.entries(namespace.find("/Racing")) if line.is_directory]
    assert (
        namespace.attributes(namespace.find("/Racing/.sh_thumbnails"), waiter).inode == line.inode
    )
    assert namespace.attributes(
        namespace.find("/Racing/.sh_thumbnails/normal/old clip.mov.png"), waiter
    ).size
    assert namespace.attributes(namespace.find("/.sh_thumbnails"), waiter).inode != line.inode
    for path in ("/", "/Racing"):
        links = [each.attributes(each.find(path), waiter).nlink for each in (hidden, namespace)]
        assert links[1] == links[0] + 1


@pytest.mark.parametrize(
    "path",
    [
        "/.sh_thumbnails/huge",
        "/.sh_thumbnails/normal/new none.mov.png",
        "/.sh_thumbnails/normal/new clip.mov.png/more",
        "/.sh_thumbnails/normal/clip.mov",
        "/.sh_thumbnails/normal/new b.mov.png",
        "/.sh_thumbnails/normal/new hidden.mov.png",
        "/none/.sh_thumbnails",
        "/.sh_thumbnails2",
    ],
)
def test_what_is_not_there(path: str) -> None:
    """No entry, and nothing to read."""
    around = Illustrated(probed_row("A"), probed_row("B", "b.mov"), probed_row("C", "hidden.mov"))
    around.bare, around.hidden = ("B",), {"C"}
    namespace = with_thumbnails(around, Painted())
    with pytest.raises(NoSuchEntry):
        namespace.attributes(namespace.find(path), waiter)
    with contextlib.suppress(NoSuchEntry):
        assert content_at(namespace, path, waiter) is None


def test_trouble_is_no_picture() -> None:
    """Neither what is wrong with the image nor with the source is shown; an interruption is."""
    around, pictures = Illustrated(row("A")), Painted()
    namespace = with_thumbnails(around, pictures)
    path = "/.sh_thumbnails/normal/new clip.mov.png"
    around.outcome = RemoteUnavailable("down")
    with pytest.raises(NoSuchEntry):
        namespace.attributes(namespace.find(path), waiter)
    assert not pictures.asked
    around.outcome = Interrupted("gone")
    with pytest.raises(Interrupted):
        namespace.attributes(namespace.find(path), waiter)


def test_wrong_ways_to_ask() -> None:
    """A folder is no file, a picture no folder, and neither has a source to open."""
    namespace = with_thumbnails(Illustrated(probed_row("A")), Painted())
    picture = "/.sh_thumbnails/normal/new clip.mov.png"
    wrong: list[tuple[type[BacklotError], Callable[[], object]]] = [
        (IsADirectory, lambda: namespace.open(namespace.find("/.sh_thumbnails"), waiter())),
        (NotSupported, lambda: namespace.open(namespace.find(picture), waiter())),
        (NotADirectory, lambda: namespace.entries(namespace.find(picture))),
        (
            NotADirectory,
            lambda: namespace.attributes(namespace.find("/clip.mov/.sh_thumbnails"), waiter),
        ),
    ]
    for error, ask in wrong:
        with pytest.raises(error):
            ask()


def test_a_source_that_is_called_so_wins() -> None:
    """It is the source, listed once."""
    around = Illustrated(probed_row("A", ".sh_thumbnails"))
    namespace = with_thumbnails(around, Painted(), listed=True)
    assert names(namespace, "/") == [".sh_thumbnails"]
    assert stat.S_ISREG(namespace.attributes(namespace.find("/.sh_thumbnails"), waiter).mode)


def test_a_new_file_has_one() -> None:
    """Also after a look-up in the version before it, and one that went has none."""
    around, pictures = Illustrated(probed_row("A")), Painted()
    namespace = with_thumbnails(around, pictures)
    old, new = (f"/.sh_thumbnails/normal/old {name}.png" for name in ("clip.mov", "b.mov"))
    assert namespace.attributes(namespace.find(old), waiter).size
    around.publish(probed_row("B", "b.mov"))
    assert namespace.attributes(namespace.find(new), waiter).size
    with pytest.raises(NoSuchEntry):
        namespace.attributes(namespace.find(old), waiter)


def test_with_sidecars() -> None:
    """Both, and none of each other."""
    rows: list[AssetRow] = [probed_row("A")]
    namespace = with_thumbnails(Illustrated(*rows), Painted(), listed=True, sidecars=True)
    assert names(namespace, "/") == ["clip.mov", "clip.mov.json", ".sh_thumbnails"]
    assert names(namespace, "/.sh_thumbnails/large") == ["new clip.mov.png", "old clip.mov.png"]
    assert content_at(namespace, "/clip.mov.json", waiter) is not None
    assert is_virtual(namespace, "/clip.mov.json")
    for path in ("/.sh_thumbnails/large/new clip.mov.json.png", "/.sh_thumbnails.json"):
        with pytest.raises(NoSuchEntry):
            namespace.attributes(namespace.find(path), waiter)


def test_a_file_whose_size_waits_for_a_credit_has_no_picture_yet() -> None:
    """The kernel holds the folder's lock while it looks one up: no wait of an hour."""
    around = Illustrated(row("A"))
    around.queued = {"A"}
    namespace = with_thumbnails(around, Painted())
    with pytest.raises(NoSuchEntry, match="size"):
        namespace.attributes(namespace.find("/.sh_thumbnails/normal/new clip.mov.png"), waiter)
    assert around.probes == []
    assert around.listings == [["A"]], "it is asked for before the background"
