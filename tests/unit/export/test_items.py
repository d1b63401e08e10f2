# SPDX-License-Identifier: Apache-2.0
"""What of the sources becomes which name in the copy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from backlotfs.errors import SettingsError
from backlotfs.export import items
from backlotfs.export.items import Item, find_items, kept_apart


def never_paused(seconds: float) -> None:
    """All sizes are known here."""
    raise AssertionError(f"{seconds} s were waited")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Two files, one in a folder."""
    root = tmp_path / "library"
    (root / "News").mkdir(parents=True)
    (root / "a.mov").write_bytes(b"abc")
    (root / "News" / "b.mov").write_bytes(b"")
    return root


def names(*sources: str | Path) -> list[str]:
    """Of all items; no problem is expected."""
    found, problems = find_items([str(source) for source in sources], never_paused)
    assert problems == []
    return [item.name for item in found]


def test_a_folder_keeps_its_name_and_with_a_slash_gives_its_contents(library: Path) -> None:
    """As ``cp -r`` has it, and as rsync has it."""
    assert names(library) == ["library/News/b.mov", "library/a.mov"]
    assert names(f"{library}/") == ["News/b.mov", "a.mov"]


def test_a_folder_without_a_name_gives_its_contents(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``.`` is no name for a folder of the copy."""
    monkeypatch.chdir(library)
    assert names(".") == ["News/b.mov", "a.mov"]


def test_the_same_file_named_twice_is_exported_once(library: Path) -> None:
    """A file and its folder, a common slip of a shell pattern."""
    assert names(f"{library}/", library / "a.mov") == ["News/b.mov", "a.mov"]


def test_two_files_for_one_name_are_refused(library: Path, tmp_path: Path) -> None:
    """One would replace the other."""
    other = tmp_path / "a.mov"
    other.touch()
    with pytest.raises(SettingsError, match=r"would both become a\.mov"):
        names(library / "a.mov", other)


def test_what_is_no_file_is_said_and_the_others_go_on(library: Path) -> None:
    """A link is not followed out of the folder; a name that is not there is said."""
    (library / "link").symlink_to("/etc/passwd")
    (library / "News" / "other").symlink_to("/etc")
    found, problems = find_items([f"{library}/", "/nowhere.mov"], never_paused)
    assert [item.name for item in found] == ["News/b.mov", "a.mov"]
    assert {problem.name: problem.reason for problem in problems} == {
        "link": "is neither a file nor a folder; name other sources",
        "News/other": "is neither a file nor a folder; name other sources",
        "nowhere.mov": "No such file or directory",
    }


@pytest.mark.parametrize("code", [errno.ETIMEDOUT, errno.EAGAIN])
def test_a_size_not_known_yet_is_waited_for(
    library: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The mount answers so until it knows; EAGAIN with ``--unsized fail``."""
    real, asked, paused = os.stat, [0], list[float]()

    def stat(path: str, *, follow_symlinks: bool) -> os.stat_result:
        asked[0] += 1
        if asked[0] < 3:
            raise OSError(code, os.strerror(code))
        return real(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    found, problems = find_items([str(library / "a.mov")], paused.append)
    assert (found[0].size_bytes, problems) == (3, [])
    assert paused == [items.SIZE_PAUSE_S] * 2


def test_the_first_of_a_clash_stays() -> None:
    """And the other is told which; folders count, and letters in two spellings."""
    names = ["News/A.mov", "News/a.mov", "a.mov", "news/A.MOV", "\u00e4.mov", "A\u0308.mov"]
    names += ["a.mov. ", "news./A.mov"]
    found = [Item(f"/library/{name}", name, 1, 0) for name in names]
    kept, clashing = kept_apart(found, (), lambda _name: False)
    assert [found.name for found in kept] == ["News/A.mov", "a.mov", "\u00e4.mov"]
    assert [problem.name for problem in clashing] == [
        *("News/a.mov", "news/A.MOV", "A\u0308.mov"),
        *("a.mov. ", "news./A.mov"),
    ]
    assert clashing[0].reason.startswith("is the same name as News/A.mov")


def test_a_file_of_an_earlier_export_stays() -> None:
    """Until it is gone from the folder; the same name is its own."""
    items_now = [Item(f"/library/{name}", name, 1, 0) for name in ("a.mov", "b.mov", "C.mov")]
    exported = ("A.mov", "b.mov", "B.mov", "c.mov")
    kept, clashing = kept_apart(items_now, exported, lambda name: name != "c.mov")
    assert [item.name for item in kept] == ["b.mov", "C.mov"]
    assert [problem.name for problem in clashing] == ["a.mov"]
    assert "which an earlier export copied; export into an empty folder" in clashing[0].reason
