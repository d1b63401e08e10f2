"""``flat``, ``dates`` and ``by-id``, example by example."""

from __future__ import annotations

import pytest

from backlotfs.namespace.layouts.by_id import extension
from backlotfs.namespace.name_modes import NameMode
from backlotfs.namespace.naming import fit
from tests.unit.layouts.made_rows import JANUARY_S, built, files, folder_at, folders, made_row


def test_flat_has_everything_in_the_root() -> None:
    """Each under its name, and the row itself is the file."""
    row = made_row("A", "clip.mov")
    layout = built("flat", [row, made_row("B")])
    assert files(layout) == {("clip.mov",): "A", ("B.mov",): "B"}
    assert layout.root.entries["clip.mov"] is row
    assert (layout.folders, layout.root.subfolders, dict(layout.nlink)) == (1, 0, {})


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
    assert layout.folders == 4


@pytest.mark.parametrize("created_at_s", [0, -1, -(10**12), 10**12, 2**63 - 1, 10**30])
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
