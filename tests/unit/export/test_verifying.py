# SPDX-License-Identifier: Apache-2.0
"""Verification that is stopped, and what it calls a stranger."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from backlotfs.export.destination import MANIFEST, MOST_DEPTH, WORKSPACE, Destination
from backlotfs.export.manifest import JOURNAL
from backlotfs.export.verifying import check_file, check_files, read_all_records, strangers
from tests.unit.export.entries import make_entry

LARGE = b"x" * (4 * 1024 * 1024)


def test_progress_comes_piece_by_piece(tmp_path: Path) -> None:
    """Not a hundred gigabytes at once."""
    (tmp_path / "a").write_bytes(LARGE)
    moved: list[int] = []
    digest = hashlib.sha256(LARGE).hexdigest()
    with Destination.open(tmp_path) as destination:
        assert check_file(destination, "a", digest, None, moved.append) is None
    assert len(moved) == 4
    assert sum(moved) == len(LARGE)


def test_giving_up_does_not_wait_for_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C: what is being read is left at its next piece."""
    (tmp_path / "small").write_bytes(b"")
    (tmp_path / "large").write_bytes(LARGE)
    moved: list[int] = []
    given_up = threading.Event()
    real = ThreadPoolExecutor.shutdown

    def shutdown(self: ThreadPoolExecutor, **options: bool) -> None:
        given_up.set()
        real(self, **options)

    def count(count_bytes: int) -> None:
        moved.append(count_bytes)
        assert given_up.wait(10)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shutdown)
    entries = {"small": hashlib.sha256().hexdigest(), "large": "0" * 64}
    with Destination.open(tmp_path) as destination:
        found = check_files(partial(check_file, destination), entries, {}, jobs=1, moved=count)
        assert next(found) == ("small", None)
        with pytest.raises(KeyboardInterrupt):
            found.throw(KeyboardInterrupt())  # type: ignore[attr-defined]  # it is a generator
    assert len(moved) <= 1


class Verifying:
    """A folder with a copy, and one beside it that nothing may lead to."""

    def __init__(self, folder: Path) -> None:
        self.copy, self.outside = folder / "copy", folder / "outside"
        self.copy.mkdir()
        self.outside.mkdir()

    def reason(self, name: str, data: bytes, moved: Callable[[int], None] | None = None) -> str:
        """Why ``name`` does not count as a file with these bytes; empty: it does."""
        with Destination.open(self.copy) as destination:
            digest = hashlib.sha256(data).hexdigest()
            problem = check_file(destination, name, digest, None, moved or (lambda _count: None))
        return problem.reason if problem else ""


@pytest.fixture
def verifying(tmp_path: Path) -> Verifying:
    """Nothing there yet."""
    return Verifying(tmp_path)


def test_a_copy_of_a_source_with_another_size_now_is_not_right(verifying: Verifying) -> None:
    """A copy that has the bytes of the manifest is old where its source has another size."""
    (verifying.copy / "a").write_bytes(b"right")
    digest = hashlib.sha256(b"right").hexdigest()
    with Destination.open(verifying.copy) as destination:
        right, old = (
            check_file(destination, "a", digest, size, lambda _count: None) for size in (5, 6)
        )
    assert right is None
    assert old is not None


@pytest.mark.parametrize("made", ["folder", "link", "pipe", "device"])
def test_what_stands_in_for_a_file_is_no_copy(verifying: Verifying, made: str) -> None:
    """A link to the right bytes is not the file; and no pipe is waited for."""
    make_entry(verifying.copy / "a", made, target="/dev/null")
    assert "not a file" in verifying.reason("a", b"")


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_linked_folder_is_not_followed(verifying: Verifying, depth: int) -> None:
    """At any depth; the right bytes outside count for nothing."""
    (verifying.outside / "b" / "c").mkdir(parents=True)
    (verifying.outside / "b" / "c" / "a").write_bytes(b"right")
    where = ["one", "two", "three"][:depth]
    link = verifying.copy.joinpath(*where)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(verifying.outside)
    name = "/".join([*where, "b", "c", "a"])
    assert (verifying.copy / name).read_bytes() == b"right"
    assert "is a symbolic link, not a folder" in verifying.reason(name, b"right")


def test_a_file_changed_while_it_is_read_is_not_right(verifying: Verifying) -> None:
    """Its first piece was read as it was before."""
    path = verifying.copy / "a"
    path.write_bytes(LARGE)

    def change(_count: int) -> None:
        with path.open("r+b") as file:
            file.write(b"y")

    assert "was changed while it was read" in verifying.reason("a", LARGE, change)


@pytest.mark.parametrize("swap", ["file", "folder"])
def test_a_file_swapped_while_it_is_read_is_not_right(verifying: Verifying, swap: str) -> None:
    """What was read is right, but it is not what is there."""
    folder = verifying.copy / "News"
    folder.mkdir()
    (folder / "a").write_bytes(LARGE)

    def change(_count: int) -> None:
        swapped = folder / "a" if swap == "file" else folder
        if not swapped.is_symlink():
            swapped.rename(verifying.outside / swapped.name)
            swapped.symlink_to(verifying.outside / swapped.name)

    assert "was changed while it was read" in verifying.reason("News/a", LARGE, change)


@pytest.mark.parametrize("name", [MANIFEST, f"{WORKSPACE}/journal", "manifest.SHA256"])
def test_no_file_of_ours_counts_as_exported(verifying: Verifying, name: str) -> None:
    """A manifest may name anything."""
    (verifying.copy / name).parent.mkdir(exist_ok=True)
    (verifying.copy / name).write_bytes(b"")
    assert "export's own" in verifying.reason(name, b"")


def test_strangers_and_parts(tmp_path: Path) -> None:
    """What no manifest knows is named, links by their own names; what is unfinished is counted."""
    (tmp_path / "News").mkdir()
    (tmp_path / WORKSPACE).mkdir(mode=0o700)
    for name in ("a", "News/notes.txt", f"{WORKSPACE}/12.part", f"{WORKSPACE}/12.checkpoint"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("/etc")
    with Destination.open(tmp_path) as destination:
        assert read_all_records(destination) == (({}, {}), (1, False))
        assert strangers(destination, {"a": ""}) == ["News/notes.txt", "link"]


def test_folders_nested_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is opened once, from the one above: who can write to DEST nests thousands."""
    folder = os.open(tmp_path, os.O_RDONLY)
    for depth in range(400):
        for name in ("a", "b"):
            os.mkdir(name, dir_fd=folder)
        if depth < MOST_DEPTH:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        below = os.open("a", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    opened: list[str] = []
    real = os.open

    def count(path: str, flags: int, *, dir_fd: int) -> int:
        opened.append(path)
        return real(path, flags, dir_fd=dir_fd)

    with Destination.open(tmp_path) as destination, monkeypatch.context() as patch:
        patch.setattr(os, "open", count)
        found = strangers(destination, {})
    assert len(opened) == 2 * MOST_DEPTH
    files = ["a/" * depth + "file" for depth in range(MOST_DEPTH)]
    deep = "a/" * MOST_DEPTH
    assert found == sorted([*files, deep + "a", deep + "b"])


def test_a_workspace_that_others_can_enter_proves_nothing(tmp_path: Path) -> None:
    """Its journal is not read."""
    workspace = tmp_path / WORKSPACE
    workspace.mkdir()
    workspace.chmod(0o755)
    (tmp_path / "a").write_bytes(b"")
    status = (tmp_path / "a").stat()
    line = ["a", hashlib.sha256().hexdigest(), 0, status.st_mtime_ns, status.st_mtime_ns]
    (workspace / JOURNAL).write_text(json.dumps(line) + "\n")
    with Destination.open(tmp_path) as destination:
        assert read_all_records(destination) == (({}, {}), None)
        workspace.chmod(0o700)
        assert read_all_records(destination) == (({"a": line[1]}, {}), (0, True))
