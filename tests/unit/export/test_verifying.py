"""Verification that is stopped, and what it calls a stranger."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backlotfs.export.verifying import check_file, check_files, strangers

LARGE = b"x" * (4 * 1024 * 1024)


def test_progress_comes_piece_by_piece(tmp_path: Path) -> None:
    """Not a hundred gigabytes at once."""
    (tmp_path / "a").write_bytes(LARGE)
    moved: list[int] = []
    digest = hashlib.sha256(LARGE).hexdigest()
    assert check_file(tmp_path, "a", digest, None, moved.append) is None
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
    found = check_files(tmp_path, entries, {}, jobs=1, moved=count)
    assert next(found) == ("small", None)
    with pytest.raises(KeyboardInterrupt):
        found.throw(KeyboardInterrupt())  # type: ignore[attr-defined]  # it is a generator
    assert len(moved) <= 1


@pytest.mark.parametrize("made", ["folder", "link"])
def test_what_stands_in_for_a_file_is_no_copy(tmp_path: Path, made: str) -> None:
    """A link to the right bytes is not the file."""
    if made == "folder":
        (tmp_path / "a").mkdir()
    else:
        (tmp_path / "a").symlink_to("/dev/null")
    problem = check_file(tmp_path, "a", hashlib.sha256().hexdigest(), None, lambda _count: None)
    assert problem is not None
    assert problem.reason == "is not a file"


def test_strangers_and_parts(tmp_path: Path) -> None:
    """What no manifest knows is named, what awaits its export is counted."""
    (tmp_path / "News").mkdir()
    for name in ("a", "News/notes.txt", ".backlotfs-12.part", ".backlotfs-12.checkpoint"):
        (tmp_path / name).touch()
    assert strangers(tmp_path, {"a": ""}) == (["News/notes.txt"], 1)
