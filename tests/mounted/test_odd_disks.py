"""Exports onto disks that take two names for one file: no file is replaced by that of another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.odd_disk import odd_disk

pytestmark = pytest.mark.mounted


@pytest.fixture(params=["dots", "fold"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Its mountpoint."""
    root, place = tmp_path / "root", tmp_path / "disk"
    root.mkdir()
    place.mkdir()
    with odd_disk(place, root, request.param):
        yield place


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Two assets with what is one name there."""
    library = tmp_path / "library"
    library.mkdir()
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
