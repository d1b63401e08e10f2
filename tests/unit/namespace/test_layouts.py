# SPDX-License-Identifier: Apache-2.0
"""Each layout by itself and several together, example by example."""

from __future__ import annotations

import pytest

from backlotfs.catalog.db.rows import inode_of
from backlotfs.config.settings import LAYOUTS, NameMode
from backlotfs.errors import SettingsError
from backlotfs.namespace.layouts import extension
from backlotfs.namespace.naming import fit
from backlotfs.namespace.tree import ROOT_INODE, folder_inode
from tests.unit.namespace.made_rows import (
    JANUARY_S,
    built,
    files,
    folder_at,
    folders,
    links,
    made_label,
    made_row,
)

ROWS = [made_row("A"), made_row("B")]
LABELS = [made_label("1", "x"), made_label("2", "y")]
MEMBERS = {"1": ["A"], "2": ["A"]}


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_layout_is_the_root(name: str) -> None:
    """Alone or asked for twice."""
    layout = built(name, ROWS, LABELS, MEMBERS)
    assert layout.root.inode == ROOT_INODE
    assert files(built([name, name], ROWS, LABELS, MEMBERS)) == files(layout)


def test_several_are_folders() -> None:
    """Called like the layout, each as it is alone, in the order asked for."""
    layout = built(LAYOUTS[::-1], ROWS, LABELS, MEMBERS)
    assert list(layout.root.entries) == list(LAYOUTS[::-1])
    for name in LAYOUTS:
        alone = built(name, ROWS, LABELS, MEMBERS)
        below = {path[1:]: code for path, code in files(layout).items() if path[0] == name}
        assert below == files(alone)
    assert layout.root.inode == ROOT_INODE
    assert links(layout) == {"A": 5, "B": 4}


def test_links_without_labels() -> None:
    """One place in each."""
    assert links(built(["flat", "dates"], ROWS)) == {"A": 2, "B": 2}
    assert links(built(["labels", "flat"], ROWS, LABELS, MEMBERS)) == {"A": 3, "B": 2}


def test_inodes_do_not_hang_on_what_is_beside() -> None:
    """A folder is the same in every composition."""
    alone, beside = built("dates", ROWS), built(["flat", "dates"], ROWS)
    assert folder_at(alone, "2013", "01").inode == folder_at(beside, "dates", "2013", "01").inode
    assert folder_at(beside, "flat").inode == folder_inode("layout:flat")


def test_folders_and_assets_have_inodes_of_their_own() -> None:
    """Even if an embed code is spelled like what a folder is."""
    assert folder_inode("label:1") != inode_of("label:1")
    assert folder_inode("label:\udc80") > ROOT_INODE


@pytest.mark.parametrize("layouts", [[], ["flat", "tags"], [""]])
def test_unknown_layouts_are_refused(layouts: list[str]) -> None:
    """With the choices in the message."""
    with pytest.raises(SettingsError, match="flat, labels, dates, by-id"):
        built(layouts, ROWS)


def test_a_folder_shows_what_it_is() -> None:
    """Short, whatever is in it: it ends up in logs."""
    assert repr(built("flat", ROWS).root) == "<Folder 1: 0 of 2 are folders>"


def test_flat_has_everything_in_the_root() -> None:
    """Each under its name, and its row is found by it."""
    row = made_row("A", "clip.mov")
    layout = built("flat", [row, made_row("B")])
    assert files(layout) == {("clip.mov",): "A", ("B.mov",): "B"}
    assert layout.root.get("clip.mov") == row
    assert (layout.root.subfolders, links(layout)) == (0, {})


def test_an_empty_library_is_an_empty_folder() -> None:
    """In every layout that has no folders of its own."""
    for name in ("flat", "dates", "by-id"):
        assert built(name, []).root.entries == {}


def test_an_asset_without_a_name_is_left_out() -> None:
    """An empty name is no path."""
    for name in ("flat", "dates", "by-id", "labels"):
        assert files(built(name, [made_row("A", "")], (), {"L": ["A"]})) == {}


def test_dates_are_in_utc() -> None:
    """One second is a month's difference."""
    layout = built("dates", [made_row("A"), made_row("B", created_at_s=JANUARY_S + 1)])
    assert files(layout) == {("2013", "01", "A.mov"): "A", ("2013", "02", "B.mov"): "B"}
    assert len(folders(layout)) == 3


@pytest.mark.parametrize("created_at_s", [0, -1, -(10**12), 10**12, 2**63 - 1])
def test_without_a_date_it_is_undated(created_at_s: int) -> None:
    """Unparsable, before the epoch, after the year 9999."""
    layout = built("dates", [made_row("A", created_at_s=created_at_s)])
    assert files(layout) == {("undated", "A.mov"): "A"}


def test_the_last_date_is_one() -> None:
    """9999-12-31 is still a month."""
    layout = built("dates", [made_row("A", created_at_s=253_402_300_799)])
    assert files(layout) == {("9999", "12", "A.mov"): "A"}


def test_folders_come_in_order() -> None:
    """A listing that is not sorted is in order of time, the undated last."""
    months = [1_400_000_000, 0, 1_300_000_000, 1_301_000_000]
    layout = built("dates", [made_row(f"A{at}", created_at_s=at) for at in months])
    assert list(layout.root.entries) == ["2011", "2014", "undated"]
    assert folders(layout) == {
        ("2011",), ("2011", "03"), ("2014",), ("2014", "05"), ("undated",),
    }  # fmt: skip


def test_folders_keep_their_inode() -> None:
    """Whatever is in them, and different from each other."""
    first = built("dates", [made_row("A")])
    second = built("dates", [made_row("B"), made_row("C", created_at_s=0)])
    for path in [("2013",), ("2013", "01")]:
        assert folder_at(first, *path).inode == folder_at(second, *path).inode
    paths = [("2013",), ("2013", "01"), ("undated",)]
    inodes = {folder_at(second, *path).inode for path in paths}
    assert len(inodes) == 3
    assert all(1 < inode < 2**63 for inode in inodes)


def test_by_id_keeps_the_extension_of_the_name() -> None:
    """The embed code is the whole stem."""
    rows = [made_row("A", "clip.tar.gz"), made_row("B", "clip"), made_row("C", ".mov")]
    assert files(built("by-id", rows)) == {("A.gz",): "A", ("B",): "B", ("C",): "C"}


def test_by_id_tells_strange_ids_apart() -> None:
    """An id that ends like another one with its extension."""
    layout = built("by-id", [made_row("A", "clip.mov"), made_row("A.mov", "clip")])
    assert files(layout) == {("A.mov",): "A", ("A%2Emov",): "A.mov"}


def test_by_id_is_portable_too() -> None:
    """Ids alike but for case: the oldest keeps its name; a device is none."""
    rows = [made_row("ab", "x.mov", 2), made_row("AB", "y.MOV", 1), made_row("con", "z.mov")]
    assert files(built("by-id", rows, names=NameMode.PORTABLE)) == {
        ("AB.MOV",): "AB",
        ("ab [ab].mov",): "ab",
        ("con_.mov",): "con",
    }


@pytest.mark.parametrize(
    "name",
    ["a.mov", "a", ".mov", "a.", "a..b", "a.b c", "a.tar.gz", "a.é", "a.x-_y", "a." + "x" * 17],
)
def test_an_extension_is_what_naming_keeps(name: str) -> None:
    """`naming.fit` and the layout agree on where a name ends."""
    assert fit(name, "/").partition("/")[2] == extension(name)
