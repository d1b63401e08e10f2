# SPDX-License-Identifier: Apache-2.0
"""``labels``, example by example."""

from __future__ import annotations

import random

import pytest

from backlotfs.api.records import Label
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.config.settings import NameMode
from backlotfs.namespace.layouts import label_places
from tests.unit.namespace.made_rows import (
    built,
    files,
    folder_at,
    folders,
    links,
    made_label,
    made_row,
    walked,
)

A, B, C = made_row("A"), made_row("B"), made_row("C")


def tree(*labels: Label, names: NameMode = NameMode.ORIGINAL) -> set[tuple[str, ...]]:
    """The label folders, in any order of labels the same; ``Unlabeled`` left out."""
    found = folders(built("labels", [], labels, names=names))
    shuffled = random.Random(1).sample(labels, len(labels))
    assert folders(built("labels", [], shuffled, names=names)) == found
    return found - {("Unlabeled",)}


def test_the_tree_comes_from_the_parents() -> None:
    """Never from ``full_name``; a child may come before its parent."""
    assert tree(made_label("2", "Racing", "1"), made_label("1", "Sports")) == {
        ("Sports",),
        ("Sports", "Racing"),
    }


def test_an_asset_is_in_each_of_its_labels() -> None:
    """The same file, counted; not in the parents of a label."""
    labels = [made_label("1", "Sports"), made_label("2", "Racing", "1"), made_label("3", "New")]
    layout = built("labels", [A, B, C], labels, {"2": ["A", "B"], "3": ["A"]})
    assert files(layout) == {
        ("Sports", "Racing", "A.mov"): "A",
        ("Sports", "Racing", "B.mov"): "B",
        ("New", "A.mov"): "A",
        ("Unlabeled", "C.mov"): "C",
    }
    assert folder_at(layout, "New").get("A.mov") == A
    assert links(layout) == {"A": 2}
    assert (layout.places(A.inode), layout.places(B.inode)) == (2, 1)


def test_an_asset_in_a_label_and_its_parent_is_in_both() -> None:
    """Labels of one line are labels like others."""
    labels = [made_label("1", "Sports"), made_label("2", "Racing", "1")]
    layout = built("labels", [A], labels, {"1": ["A"], "2": ["A"]})
    assert set(files(layout)) == {("Sports", "A.mov"), ("Sports", "Racing", "A.mov")}
    assert links(layout) == {"A": 2}


def test_unknown_members_do_nothing() -> None:
    """Codes of no asset, labels that are not there, the same code twice."""
    members = {"1": ["A", "gone", "A"], "gone": ["B"]}
    layout = built("labels", [A, B], [made_label("1", "Sports")], members)
    assert files(layout) == {("Sports", "A.mov"): "A", ("Unlabeled", "B.mov"): "B"}
    assert links(layout) == {}


def test_a_missing_parent_is_none() -> None:
    """The label goes to the top level."""
    assert tree(made_label("2", "Racing", "1")) == {("Racing",)}


def test_a_cycle_is_cut_at_its_smallest_id() -> None:
    """Which goes to the top level; the others stay below it, and what hangs on them too."""
    labels = [
        made_label("3", "c", "2"),
        made_label("1", "a", "3"),
        made_label("2", "b", "1"),
        made_label("0", "tail", "2"),
    ]
    assert tree(*labels) == {("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", "tail")}


def test_a_label_that_is_its_own_parent() -> None:
    """The shortest cycle."""
    assert tree(made_label("1", "a", "1")) == {("a",)}


def test_two_cycles_are_cut_each() -> None:
    """One does not hide the other."""
    pairs = [("1", "2"), ("2", "1"), ("3", "4"), ("4", "3")]
    assert tree(*[made_label(id, id, parent) for id, parent in pairs]) == {
        ("1",), ("1", "2"), ("3",), ("3", "4"),
    }  # fmt: skip


def test_of_siblings_with_one_name_the_smallest_id_keeps_it() -> None:
    """Others get their id; cousins are no siblings."""
    labels = [made_label(id, "X", parent) for id, parent in [("3", None), ("1", None), ("2", "1")]]
    assert tree(*labels) == {("X",), ("X [3]",), ("X", "X")}


def test_a_merged_name_is_still_two_folders() -> None:
    """An asset in two labels of one name is in both."""
    labels = [made_label("1", "X"), made_label("2", "X")]
    layout = built("labels", [A], labels, {"1": ["A"], "2": ["A"]})
    assert set(files(layout)) == {("X", "A.mov"), ("X [2]", "A.mov")}
    assert links(layout) == {"A": 2}


def test_a_label_called_like_a_contested_one() -> None:
    """A third name is found."""
    labels = [made_label("1", "X"), made_label("2", "X"), made_label("3", "X [2]")]
    assert tree(*labels) == {("X",), ("X [2]",), ("X [2] [3]",)}


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Cars/Trucks, etc", "Cars\uff0fTrucks, etc"),
        ("", "1"),
        ("  ", "1"),
        ("..", "\uff0e\uff0e"),
        ("a\nb", "a\u240ab"),
        ("Unlabeled", "Unlabeled [1]"),
        ("unlabeled", "unlabeled"),
        ("é" * 200, "é" * 127),
    ],
)
def test_label_names_become_legal(name: str, folder: str) -> None:
    """Like file names, and never one with the folder of the unlabelled."""
    assert tree(made_label("1", name)) == {(folder,)}


def test_portable_labels() -> None:
    """Windows' rules hold for folders, case among siblings too."""
    labels = [made_label("1", "Why?"), made_label("2", "UNLABELED"), made_label("3", "why?")]
    labels.append(made_label("con", ""))
    assert tree(*labels, names=NameMode.PORTABLE) == {
        ("Why\uff1f",), ("UNLABELED [2]",), ("why\uff1f [3]",), ("con_",),
    }  # fmt: skip


def test_unlabeled_below_the_top_is_an_ordinary_name() -> None:
    """Nothing else is there to be told from."""
    assert tree(made_label("1", "a"), made_label("2", "Unlabeled", "1")) == {
        ("a",),
        ("a", "Unlabeled"),
    }


def both(label: str, *rows: AssetRow, names: NameMode = NameMode.ORIGINAL) -> dict[str, str]:
    """The files of a folder that has a subfolder called `label`."""
    labels = [made_label("1", "top"), made_label("2", label, "1")]
    members = {"1": [row.embed_code for row in rows]}
    layout = built("labels", rows, labels, members, names)
    assert label in folder_at(layout, "top").entries
    assert folder_at(layout, "top").subfolders == 1
    return {path[-1]: code for path, code in files(layout).items()}


def test_a_folder_keeps_its_name_before_a_file() -> None:
    """The file gets its embed code before the extension."""
    assert both("x.mov", made_row("A", "x.mov"), B) == {"x [A].mov": "A", "B.mov": "B"}
    assert both("x", made_row("A", "X"), names=NameMode.ORIGINAL) == {"X": "A"}
    assert both("x", made_row("A", "X"), names=NameMode.PORTABLE) == {"X [A]": "A"}


def test_a_file_called_like_a_displaced_one_keeps_its_name() -> None:
    """Whichever comes first."""
    rows = [made_row("A", "x"), made_row("B", "x [A]")]
    assert both("x", *rows) == both("x", *rows[::-1]) == {"x [A]": "B", "x [A]_": "A"}


def test_an_asset_displaced_in_one_label_keeps_its_name_in_another() -> None:
    """The name is the folder's affair; the asset is the same."""
    row = made_row("A", "x")
    labels = [made_label("1", "a"), made_label("2", "x", "1"), made_label("3", "b")]
    layout = built("labels", [row], labels, {"1": ["A"], "3": ["A"]})
    assert set(files(layout)) == {("a", "x [A]"), ("b", "x")}
    assert links(layout) == {"A": 2}


def test_ten_thousand_levels() -> None:
    """Deeper than any stack; built, walked and dropped."""
    ids = [f"{number:05}" for number in range(10_000)]
    random.Random(2).shuffle(ids)
    labels = [made_label(id, id, parent) for id, parent in zip(ids, [None, *ids], strict=False)]
    layout = built("labels", [A], labels, {ids[-1]: ["A"]})
    folder = layout.root
    for id in ids:
        folder = dict(folder.folders())[id]
    assert folder.entries == {"A.mov": A.inode}


def test_ten_thousand_in_a_ring() -> None:
    """Cut in one place."""
    ids = [f"{number:05}" for number in range(10_000)]
    random.Random(3).shuffle(ids)
    labels = [made_label(id, id, parent) for id, parent in zip(ids, ids[1:] + ids[:1], strict=True)]
    places = label_places(labels, NameMode.ORIGINAL, reserved=[])
    assert [place.label_id for place in places if place.parent_id is None] == ["00000"]


def test_folders_keep_their_inode() -> None:
    """Through a new name and a new parent; no two share one, nor one with an asset."""
    before = built("labels", [A], [made_label("1", "a"), made_label("2", "b", "1")])
    after = built("labels", [A], [made_label("1", "z"), made_label("2", "y")])
    assert folder_at(before, "a").inode == folder_at(after, "z").inode
    assert folder_at(before, "a", "b").inode == folder_at(after, "y").inode
    inodes = [folder.inode for _, folder in walked(before)]
    assert len({*inodes, A.inode}) == len(inodes) + 1


def test_a_label_listed_twice_is_one_folder() -> None:
    """Pages that moved while they were read: which one holds does not hang on the order."""
    assert tree(made_label("1", "new"), made_label("1", "old"), made_label("2", "x", "1")) == {
        ("new",),
        ("new", "x"),
    }


def test_a_part_of_the_library_has_no_empty_folders() -> None:
    """The others are called as among all labels; ``Unlabeled`` is there if it has a file."""
    labels = [
        made_label("1", "Sports"),
        made_label("2", "Racing", "1"),
        made_label("3", "Sports"),
        made_label("4", "New", "3"),
        made_label("5", "Old"),
    ]
    members = {"4": ["A"], "5": ["hidden"]}
    layout = built("labels", [A], labels, members, empty_labels=False)
    assert folders(layout) == {("Sports [3]",), ("Sports [3]", "New")}
    assert files(layout) == {("Sports [3]", "New", "A.mov"): "A"}
    layout = built("labels", [A, B], labels, members, empty_labels=False)
    assert files(layout)[("Unlabeled", "B.mov")] == "B"
