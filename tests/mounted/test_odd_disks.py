# SPDX-License-Identifier: Apache-2.0
"""Exports onto disks that take two names for one file: no file is replaced by that of another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.long_runs import few_of
from tests.support.odd_disk import odd_disk

pytestmark = pytest.mark.mounted


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Of the files to export, of what the disk keeps, and its mountpoint."""
    made = [tmp_path / name for name in ("library", "root", "disk")]
    for folder in made:
        folder.mkdir()
    return made


@pytest.fixture(params=few_of(["dots", "fold", "fold spellings"], "fold"))
def disk(folders: list[Path], request: pytest.FixtureRequest) -> Iterator[Path]:
    """Its mountpoint."""
    _, root, place = folders
    with odd_disk(place, root, request.param):
        yield place


@pytest.fixture
def library(folders: list[Path]) -> Path:
    """Two assets with what is one name there."""
    library = folders[0]
    (library / "reel.mov").write_bytes(b"first")
    (library / "reel.mov.").write_bytes(b"second")
    return library


def export(library: Path, disk: Path, *options: str) -> dict[str, str]:
    """State by name."""
    command = [sys.executable, "-m", "backlotfs", "export", "--json", *options]
    done = subprocess.run(
        [*command, f"{library}/", str(disk)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert "reel.mov.: is the same name as reel.mov" in done.stderr
    return {file["name"]: file["state"] for file in json.loads(done.stdout)["files"]}


def test_what_was_exported_is_not_replaced(library: Path, disk: Path) -> None:
    """Not even with --overwrite, which is for files that no export made."""
    states = export(library, disk, "--overwrite", "-j1")
    assert states == {"reel.mov": "copied", "reel.mov.": "failed"}
    assert (disk / "reel.mov").read_bytes() == b"first"


def test_what_is_unchanged_is_not_replaced(library: Path, disk: Path) -> None:
    """A file of an earlier export is as safe."""
    export(library, disk, "--overwrite", "-j1")
    states = export(library, disk, "--overwrite", "-j1")
    assert states == {"reel.mov": "unchanged", "reel.mov.": "failed"}
    states = export(library, disk, "--overwrite", "--checksum", "-j1")
    assert states == {"reel.mov": "verified", "reel.mov.": "failed"}
    assert (disk / "reel.mov").read_bytes() == b"first"


@pytest.mark.parametrize("kind", few_of(["fold", "fold spellings"], "fold spellings"))
def test_another_spelling_of_an_exported_name(folders: list[Path], kind: str) -> None:
    """Is refused, with --overwrite too: the manifest keeps the file that it names."""
    library, root, place = folders
    (library / "A.mov").write_bytes(b"first")
    (library / "a.mov").write_bytes(b"second")
    with odd_disk(place, root, kind):
        command = [sys.executable, "-m", "backlotfs", "export", "--overwrite", "-j1"]
        for sources in (["A.mov", "a.mov"], ["a.mov"]):
            done = subprocess.run(
                [*command, *(str(library / name) for name in sources), str(place)],
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 1, done.stderr
            assert "backlotfs: a.mov: is the same name as A.mov" in done.stderr
        checked = subprocess.run(
            ["sha256sum", "-c", "MANIFEST.sha256"], cwd=place, capture_output=True, text=True
        )
    assert (checked.returncode, checked.stdout) == (0, "A.mov: OK\n")
    assert (root / "A.mov").read_bytes() == b"first"


@pytest.mark.parametrize("answer", few_of(["EINVAL", "ENOENT"], "EINVAL"))
def test_a_name_that_the_disk_cannot_hold(folders: list[Path], answer: str) -> None:
    """It is told as what it is, not as a file that is gone; all others are copied."""
    library, root, place = folders
    (library / "take 1: wide?.mov").write_bytes(b"first")
    (library / "take 2.mov").write_bytes(b"second")
    with odd_disk(place, root, answer):
        command = [sys.executable, "-m", "backlotfs", "export", f"{library}/", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "wide?.mov: the disk of the destination cannot hold this name; mount with" in done.stderr
    assert (root / "take 2.mov").read_bytes() == b"second"


@pytest.mark.parametrize("second", [b"first", b"second"], ids=["equal bytes", "other bytes"])
@pytest.mark.parametrize("kind", ["fold", "fold spellings"])
def test_a_copy_that_was_moved_to_such_a_disk(
    folders: list[Path], tmp_path: Path, kind: str, second: bytes
) -> None:
    """Of two files one is left: ``verify`` misses the other, also where both have equal bytes."""
    library, root, place = folders
    for name, content in (("A.mov", b"first"), ("a.mov", second), ("B.mov", b"b")):
        (library / name).write_bytes(content)
    copy = tmp_path / "copy"
    backlotfs = [sys.executable, "-m", "backlotfs"]
    subprocess.run([*backlotfs, "export", f"{library}/", copy], check=True, timeout=120)
    with odd_disk(place, root, kind):
        for name in ("MANIFEST.sha256", "a.mov", "A.mov", "B.mov"):  # the last written is left
            (place / name).write_bytes((copy / name).read_bytes())
        (place / "B.mov").rename(place / "renamed")
        (place / "renamed").rename(place / "b.MOV")
        options = ["--source", f"{library}/", "--json"]
        done = subprocess.run(
            [*backlotfs, "verify", place, *options], capture_output=True, text=True, timeout=120
        )
    found = json.loads(done.stdout)
    missed, taken = ("A.mov", "a.mov") if "a.mov" in os.listdir(root) else ("a.mov", "A.mov")
    reasons = {one["name"]: one["reason"] for one in found["problems"]}
    if second == b"first":
        assert list(reasons) == [missed], "the other one is right, and so is B.mov"
    assert f"has no file of its own: this disk takes its name for {taken}; " in reasons[missed]
    assert "B.mov" not in reasons, "it is there, by another spelling"
    assert found["not_in_manifest"] == []
    assert done.returncode == 1
