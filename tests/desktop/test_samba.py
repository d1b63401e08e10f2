# SPDX-License-Identifier: Apache-2.0
"""A mount shared again by Samba, read back over SMB: names, sizes, every byte."""

from __future__ import annotations

import json
import os
import pwd
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.support.expected_bytes import origin_bytes
from tests.support.file_server import FileServer, file_server
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount

pytestmark = [pytest.mark.mounted, pytest.mark.desktop("smbd", "smbclient", "testparm")]

#: With what SMB cannot say, which `--names portable` replaces: a colon, a question mark.
ASSETS = [
    video("Straßenfest in Köln.mov", 3 * MIB + 1),
    video("東京、夜.mp4", 500_000),
    video("take 2: why?.mkv", 70_000),
    video("empty.mov", 0),
]
_NAMES = ["Straßenfest in Köln.mov", "東京、夜.mp4", "take 2\uff1a why\uff1f.mkv", "empty.mov"]


@pytest.fixture(scope="module")
def shared(serve: Serve) -> Iterator[FileServer]:
    """The library in two layouts, so that there are folders, on a share."""
    emulator: Emulator = serve(*ASSETS)
    with tempfile.TemporaryDirectory(prefix="backlotfs-samba-") as place:
        folder = Path(place)
        options = ("--names", "portable", "--layout", "flat,dates", "--sidecars")
        with Mount(emulator, folder, *options) as mount:
            (folder / "server").mkdir()
            # Whoever mounted may read it: no need to open the mount to others.
            user = pwd.getpwuid(os.geteuid()).pw_name
            with file_server(mount.path, folder / "server", user=user) as server:
                yield server


def test_the_listing_shows_names_and_sizes(shared: FileServer, tmp_path: Path) -> None:
    """``ls`` of the client: umlauts, kanji, and true sizes."""
    listed = dict(
        re.findall(
            r"^  (.+?) +[A-Z]+ +(\d+)  ", shared.run(r"ls flat\*", into=tmp_path), re.MULTILINE
        )
    )
    sizes = {
        name: str(asset.content.size)
        for name, asset in zip(_NAMES, ASSETS, strict=True)
        if asset.content
    }
    assert {name: size for name, size in listed.items() if name in _NAMES} == sizes
    beside = {f"{name}.json" for name in _NAMES}
    assert listed.keys() - sizes.keys() - {".", ".."} == beside


def test_all_of_it_comes_back(shared: FileServer, tmp_path: Path) -> None:
    """A recursive ``mget``: each file in each layout, byte for byte, with its sidecar."""
    shared.run("prompt OFF; recurse ON; mget *", into=tmp_path)
    copies = {path for path in tmp_path.rglob("*") if path.is_file()}
    films = {path for path in copies if path.suffix != ".json"}
    assert sorted({path.name for path in films}) == sorted(_NAMES)
    assert len(films) == 2 * len(_NAMES)
    assert copies - films == {path.with_name(f"{path.name}.json") for path in films}
    for film in films:
        asset = ASSETS[_NAMES.index(film.name)]
        assert film.read_bytes() == origin_bytes(asset)
        facts = json.loads(film.with_name(f"{film.name}.json").read_bytes())
        assert facts["original_file_name"] == asset.original_file_name


def test_nothing_can_be_written(shared: FileServer, tmp_path: Path) -> None:
    """``put`` is refused, in SMB's own words."""
    (tmp_path / "new.txt").write_text("no")
    with pytest.raises(AssertionError, match=r"NT_STATUS_(ACCESS_DENIED|MEDIA_WRITE_PROTECTED)"):
        shared.run("cd flat; put new.txt", into=tmp_path)
