"""One layout or several."""

from __future__ import annotations

import pytest

from backlotfs.catalog.db.rows import inode_of
from backlotfs.errors import SettingsError
from backlotfs.namespace.layouts import LAYOUTS, ROOT_INODE, folder_inode
from tests.unit.layouts.made_rows import built, files, folder_at, folders, made_label, made_row

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
    assert layout.folders == len(folders(layout)) + 1
    assert dict(layout.nlink) == {"A": 5, "B": 4}


def test_links_without_labels() -> None:
    """One place in each."""
    assert dict(built(["flat", "dates"], ROWS).nlink) == {"A": 2, "B": 2}
    assert dict(built(["labels", "flat"], ROWS, LABELS, MEMBERS).nlink) == {"A": 3, "B": 2}


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
