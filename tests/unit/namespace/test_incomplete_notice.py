# SPDX-License-Identifier: Apache-2.0
"""The file that says that a listing is not complete: its name, its text, its attributes."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.namespace.incomplete_notice import Notice
from backlotfs.namespace.tree import ROOT_INODE
from tests.fakes.workers import waiter


def test_its_name_says_what_is_missing() -> None:
    """How many files, and how long that takes where that is known."""
    assert Notice.of(1, 703, 180.0).name == "NOT ALL FILES ARE LISTED YET (703 to come, 3 min).txt"
    assert Notice.of(1, 3, None).name == "NOT ALL FILES ARE LISTED YET (3 to come).txt"


def test_its_text() -> None:
    """What it is about, in plain text; its length is what `attributes` say."""
    made = Notice.of(1, 703, 180.0)
    notice = Notice(made.name, 1, mtime_s=77, umask=0o027)
    text = notice.content(waiter).decode()
    assert text.startswith("NOT ALL FILES ARE LISTED YET (703 to come, 3 min)\n")
    assert text.endswith("\n")
    assert "Do not copy this folder with a file manager" in text
    assert max(map(len, text.splitlines())) <= 100
    attributes = notice.attributes(waiter)
    assert attributes.size == len(notice.content(waiter))
    assert attributes.mode == stat.S_IFREG | 0o640
    assert (attributes.mtime_s, attributes.inode) == (77, notice.inode)


@given(folder=st.integers(1, 2**63), missing=st.integers(1, 10**9 - 1), seconds=st.floats(0, 10**9))
def test_each_notice_can_be_found_by_its_name(folder: int, missing: int, seconds: float) -> None:
    """Everything about it follows from its name and its folder."""
    notice = Notice.of(folder, missing, seconds)
    assert Notice.is_name(notice.name)
    assert Notice(notice.name, folder).inode == notice.inode
    assert ROOT_INODE < notice.inode < 2**63
    assert Notice(notice.name, folder + 1).inode != notice.inode


@pytest.mark.parametrize(
    "name",
    [
        "clip.mov", "NOT ALL FILES ARE LISTED YET.txt", "NOT ALL FILES ARE LISTED YET (3 to come)",
        "NOT ALL FILES ARE LISTED YET (x to come).txt", "",
        "NOT ALL FILES ARE LISTED YET (3 to come).txt.json",
        "NOT ALL FILES ARE LISTED YET (3 to come, ../../x).txt",
        "NOT ALL FILES ARE LISTED YET (1234567890123 to come).txt",
    ],
)  # fmt: skip
def test_other_names(name: str) -> None:
    """They are those of files, or of nothing."""
    assert not Notice.is_name(name)
