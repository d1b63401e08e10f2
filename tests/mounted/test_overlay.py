# SPDX-License-Identifier: Apache-2.0
"""docs/how-to/overlay.md: an overlay takes what programs write beside the media."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(os.geteuid() != 0, reason="an overlay is made by mount(2): needs root"),
    pytest.mark.skipif(
        "\toverlay" not in Path("/proc/filesystems").read_text("utf-8"),
        reason="this kernel has no overlayfs",
    ),
]

REEL = video("reel.mov", MIB + 1)


@pytest.fixture
def library(serve: Serve, mounted: MountIt) -> Mount:
    """A mount of one file."""
    return mounted(serve(REEL))


@pytest.fixture
def overlay(library: Mount, tmp_path: Path) -> Iterator[Path]:
    """The overlay on that, by the command of the page; its upper folder is ``upper`` beside it."""
    folders = {name: tmp_path / name for name in ("upper", "work", "merged")}
    for folder in folders.values():
        folder.mkdir()
    options = f"lowerdir={library.path},upperdir={folders['upper']},workdir={folders['work']}"
    made = ["mount", "-t", "overlay", "overlay", "-o", options, str(folders["merged"])]
    done = subprocess.run(made, check=False, capture_output=True, text=True, timeout=90)
    if done.returncode:
        pytest.skip(f"no overlay over this file system's folders: {done.stderr.strip()}")
    yield folders["merged"]
    subprocess.run(["umount", "-l", folders["merged"]], check=True, timeout=90)


def test_what_is_written_goes_beside_the_library(library: Mount, overlay: Path) -> None:
    """The media are read through it; files of one's own are there; the library stays as it is."""
    assert_same_bytes(overlay / "reel.mov", REEL)
    (overlay / "reel.xmp").write_text("notes", "utf-8")
    assert sorted(os.listdir(overlay)) == ["reel.mov", "reel.xmp"]
    assert os.listdir(overlay.parent / "upper") == ["reel.xmp"]
    assert os.listdir(library.path) == ["reel.mov"]


def test_a_library_file_that_is_changed_is_copied_first(library: Mount, overlay: Path) -> None:
    """Even when only its permissions change; the library keeps its own."""
    (overlay / "reel.mov").chmod(0o600)
    assert_same_bytes(overlay.parent / "upper" / "reel.mov", REEL)
    assert (library / "reel.mov").stat().st_mode & 0o777 == 0o644
    (overlay / "reel.mov").unlink()
    assert os.listdir(overlay) == []
    assert_same_bytes(library / "reel.mov", REEL)
