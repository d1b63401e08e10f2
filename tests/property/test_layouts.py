# SPDX-License-Identifier: Apache-2.0
"""Layouts of hostile libraries, beside a slow and simple reference."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.records import Label
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.config.settings import LAYOUTS, NameMode
from backlotfs.namespace.layouts import Layout
from backlotfs.namespace.naming import assign, key
from backlotfs.namespace.tree import ROOT_INODE, Folder
from tests.unit.namespace.made_rows import (
    MadeAsset,
    built,
    files,
    folders,
    links,
    made_label,
    made_row,
    walked,
)
from tests.unit.namespace.reference import reference

# few of each, so that everything collides with everything
IDS = ["1", "2", "3", "4", "5", "6"]
CODES = ["A", "B", "C", "D", "E", "a"]
NAMES = ["x", "X", "x [A]", "x [1]", "y.mov", "Y.MOV", "Unlabeled", "2013", "con", "a/b", "", " "]
names = st.sampled_from(NAMES) | st.text("xX.[]A /?", max_size=6)
times = st.sampled_from([0, 1, 1_359_676_799, 1_359_676_800, 1_388_534_400])
assets = st.lists(
    st.builds(MadeAsset, st.sampled_from(CODES), names, names, times),
    unique_by=lambda asset: asset.embed_code,
)
labels = st.lists(
    st.builds(made_label, st.sampled_from(IDS), names, st.none() | st.sampled_from([*IDS, "gone"])),
    unique_by=lambda label: label.id,
)
members = st.dictionaries(
    st.sampled_from([*IDS, "gone"]), st.lists(st.sampled_from([*CODES, "gone"]), max_size=6)
)


class Case(NamedTuple):
    """What a layout is built from."""

    layouts: list[str]
    rows: list[AssetRow]
    labels: list[Label]
    members: Mapping[str, list[str]]
    names: NameMode

    def built(self) -> Layout:
        """The layout."""
        return built(*self)


def with_names(
    layouts: list[str], made: list[MadeAsset], labels: list[Label],
    members: Mapping[str, list[str]], mode: NameMode,
) -> Case:  # fmt: skip
    """Rows called as the mode has it."""
    given_names = assign(mode, made, set())
    rows = [made_row(one.embed_code, given_names[one.embed_code], one.created_at_s) for one in made]
    return Case(layouts, rows, labels, members, mode)


cases = st.builds(
    with_names,
    st.lists(st.sampled_from(LAYOUTS), min_size=1, unique=True),
    assets,
    labels,
    members,
    st.sampled_from(list(NameMode)),
)


@given(cases)
def test_every_asset_is_exactly_where_it_should_be(case: Case) -> None:
    """As the reference has it: files, folders, and the number of places of each asset."""
    layout = case.built()
    expected_files, expected_folders = reference(*case)
    assert files(layout) == expected_files
    assert folders(layout) == expected_folders
    places = Counter(expected_files.values())
    assert links(layout) == {code: number for code, number in places.items() if number > 1}
    inodes = {row.embed_code: row.inode for row in case.rows}
    assert {code: layout.places(inodes[code]) for code in places} == places


@given(cases)
def test_entries_are_unique_and_legal(case: Case) -> None:
    """In every folder, by the mode's own measure; folders first, and counted."""
    layout = case.built()
    for _, folder in walked(layout):
        keys = {key(case.names, name) for name in folder.entries}
        assert len(keys) == len(folder.entries)
        kinds = [isinstance(entry, Folder) for entry in folder.entries.values()]
        assert kinds == sorted(kinds, reverse=True)
        assert sum(kinds) == folder.subfolders
        for name in folder.entries:
            assert name not in ("", ".", "..")
            assert not set(name) & {"/", "\0"}
            assert len(name.encode()) <= 255
            assert unicodedata.is_normalized("NFC", name)


@given(cases)
def test_inodes_tell_what_is_the_same(case: Case) -> None:
    """Folders have one each; a file has its asset's in every place."""
    layout = case.built()
    inodes = [folder.inode for _, folder in walked(layout)]
    assert inodes[0] == ROOT_INODE
    assert len(set(inodes)) == len(inodes) == len(folders(layout)) + 1
    by_code = {row.embed_code: row.inode for row in case.rows}
    expected_files, _ = reference(*case)
    for path, folder in walked(layout):
        for name, inode in folder.files():
            assert inode == by_code[expected_files[*path, name]]


@given(cases, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(case: Case, order: Random) -> None:
    """Rows, labels and members as a database happens to give them."""
    shuffled = case._replace(
        rows=order.sample(case.rows, len(case.rows)),
        labels=order.sample(case.labels, len(case.labels)),
        members={
            label_id: order.sample(codes, len(codes))
            for label_id, codes in order.sample([*case.members.items()], len(case.members))
        },
    )
    one, other = case.built(), shuffled.built()
    assert files(one) == files(other)
    inodes = [{path: folder.inode for path, folder in walked(layout)} for layout in (one, other)]
    assert inodes[0] == inodes[1]
    assert links(one) == links(other)
