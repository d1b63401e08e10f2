# SPDX-License-Identifier: Apache-2.0
"""``backlotfs thumbnails``: from the library's preview images to the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.support import commands
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

FILM = video("a film [1].mov", 20 * MIB)
NAMELESS = video("no image.mov", 1000, status="processing")
BROKEN = video("broken.mov", 1000, preview_image=b"<html>no image</html>")
ASSETS = [FILM, NAMELESS, BROKEN]


def run(mount: Mount, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, with a cache of its own."""
    return commands.run("thumbnails", *words, home=mount.folder)


def test_from_the_library_to_the_cache(library_mount: Mount) -> None:
    """No byte of the source and no call of the API is spent on it."""
    film = library_mount.file_of(FILM)
    mtime_s = int(os.stat(film).st_mtime)
    before = len(ended_requests(library_mount.emulator, embed_code=FILM.embed_code))
    done = run(library_mount, "--json", film)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["made"] == 1
    asked = ended_requests(library_mount.emulator, embed_code=FILM.embed_code)[before:]
    assert [entry.route for entry in asked] == ["preview_image"]
    uri = film.parent.as_uri() + "/a%20film%20%5B1%5D.mov"
    name = hashlib.md5(uri.encode(), usedforsecurity=False).hexdigest() + ".png"
    with Image.open(library_mount.folder / ".cache" / "thumbnails" / "large" / name) as made:
        assert made.size == (256, 144)
        assert made.info["Thumb::MTime"] == str(mtime_s)
        assert made.info["Thumb::URI"] == uri


def test_without_an_image_and_with_a_false_one(library_mount: Mount) -> None:
    """The first is no failure; the second is named, and what there is stays."""
    done = run(library_mount, library_mount.path)
    assert done.returncode == 1
    assert "1 without a preview image" in done.stdout
    assert "broken.mov: the preview image cannot be decoded" in done.stderr
    assert "http" not in done.stderr
