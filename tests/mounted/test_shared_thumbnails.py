# SPDX-License-Identifier: Apache-2.0
"""``--shared-thumbnails`` on a real mount: pictures beside the files, from the library's own."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import MountIt, Serve
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount
from tests.support.programs import run_program
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

FILM = video("a film [1].mov", 20 * MIB)
NAMELESS = video("no image.mov", 1000, status="processing")
BROKEN = video("broken.mov", 1000, preview_image=b"<html>no image</html>")
ASSETS = [FILM, NAMELESS, BROKEN]
OPTIONS = ("-o", "shared_thumbnails")
NAMES = sorted(str(asset.original_file_name) for asset in ASSETS)


def thumbnail(uri: str, size: str = "normal") -> str:
    """Where the standard has the thumbnail of a file with this relative URI."""
    digest = hashlib.md5(uri.encode(), usedforsecurity=False).hexdigest()
    return f".sh_thumbnails/{size}/{digest}.png"


@pytest.mark.parametrize("uri", ["./a%20film%20%5B1%5D.mov", "a%20film%20%5B1%5D.mov"])
def test_a_picture_of_a_film(library_mount: Mount, uri: str) -> None:
    """Of its exact size, with the standard's texts, and without a byte of the source."""
    mtime_s = int(library_mount.file_of(FILM).stat().st_mtime)
    before = len(ended_requests(library_mount.emulator, embed_code=FILM.embed_code))
    path = library_mount / thumbnail(uri, "large")
    status = path.stat()
    assert path.stat().st_size == len(path.read_bytes())
    assert (int(status.st_mtime), status.st_mode & 0o777) == (mtime_s, 0o644)
    with Image.open(path) as picture:
        assert picture.size == (256, 144)
        assert picture.info["Thumb::URI"] == uri
        assert picture.info["Thumb::MTime"] == str(mtime_s)
    asked = ended_requests(library_mount.emulator, embed_code=FILM.embed_code)[before:]
    assert [entry.route for entry in asked] == ["preview_image"]


def test_it_is_hidden(library_mount: Mount, tmp_path: Path) -> None:
    """Not listed, so nothing that walks takes it along; who knows the name sees what is in it."""
    assert sorted(os.listdir(library_mount.path)) == NAMES
    run_program("cp", "-r", str(library_mount.path), str(tmp_path / "copy"))
    assert sorted(os.listdir(tmp_path / "copy")) == NAMES
    assert "large" in os.listdir(library_mount / ".sh_thumbnails")
    assert len(os.listdir(library_mount / ".sh_thumbnails" / "large")) == 4  # of two, twice


@pytest.mark.parametrize("uri", ["./no%20image.mov", "./broken.mov", "./none.mov"])
def test_what_has_no_picture(library_mount: Mount, uri: str) -> None:
    """Is not there, however often it is asked for; the log has no line of it."""
    before = len(ended_requests(library_mount.emulator, route="preview_image"))
    for size in ("normal", "large", "normal"):
        with pytest.raises(FileNotFoundError):
            (library_mount / thumbnail(uri, size)).stat()
    asked = len(ended_requests(library_mount.emulator, route="preview_image")) - before
    assert asked == (uri == "./broken.mov")


def test_listed(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """Then a copy has pictures of its own, which are right for it: they are named by its files."""
    mount = mounted(serve(FILM), "--shared-thumbnails", "listed")
    assert sorted(os.listdir(mount.path)) == [".sh_thumbnails", "a film [1].mov"]
    run_program("rsync", "-a", f"{mount.path}/", f"{tmp_path}/copy/")
    for uri in ("./a%20film%20%5B1%5D.mov", "a%20film%20%5B1%5D.mov"):
        with Image.open(tmp_path / "copy" / thumbnail(uri)) as picture:
            assert picture.size == (128, 72)
    found = run_program("find", str(mount.path), "-name", "*.png")
    assert len(found.splitlines()) == 8


def test_in_another_locale(serve: Serve, mounted: MountIt) -> None:
    """Names of files are in UTF-8, whatever the locale of the mount is."""
    mount = mounted(
        serve(video("Zoë 🎬.mov"), FILM),
        *OPTIONS,
        extra={"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert len(os.listdir(mount / ".sh_thumbnails" / "normal")) == 4  # of two, twice
    for uri in ("./Zo%C3%AB%20%F0%9F%8E%AC.mov", "./a%20film%20%5B1%5D.mov"):
        with Image.open(mount / thumbnail(uri)) as picture:
            assert picture.size == (128, 72)
