# SPDX-License-Identifier: Apache-2.0
"""Programs that keep extended attributes: they end with 0, and have nothing to do a second time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import SyntheticContent
from tests.conftest import MountIt, Serve
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.programs import run_program

pytestmark = [pytest.mark.mounted, pytest.mark.both_bindings]

TEXT = "Über die Stadt. " * 500
ASSETS = [
    video("short.mov", 300_000, tag="short", description="Harbour"),
    video("long.mov", 200_000, tag="long", description=TEXT, title=TEXT, external_id=TEXT),
    video("endless.mov", 100_000, tag="endless", description=TEXT * 9),
]


@pytest.fixture
def mount(serve: Serve, tmp_path: Path) -> Iterator[Mount]:
    """With sidecars, which have attributes too."""
    with Mount(serve(*ASSETS), tmp_path, "--sidecars") as mount:
        yield mount


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A folder on a disk that keeps extended attributes."""
    folder = tmp_path / "copies"
    folder.mkdir()
    try:
        os.setxattr(folder, "user.test", b"1")
    except OSError:
        pytest.skip("the disk of temporary files keeps no extended attributes")
    return folder


def kept(file: Path) -> dict[str, bytes]:
    """All listed attributes of a file."""
    return {name: os.getxattr(file, name) for name in os.listxattr(file)}


def test_programs_that_keep_attributes(serve: Serve, mounted: MountIt, copies: Path) -> None:
    """``rsync -aX`` twice, ``cp -a``, ``tar --xattrs``: what is listed of files and folders."""
    mount = mounted(serve(*ASSETS), "--sidecars", "--layout", "dates")
    found = [path.relative_to(mount.path) for path in mount.path.rglob("*")]
    command = ("rsync", "-aXi", f"{mount.path}/", f"{copies}/rsync/")
    assert run_program(*command).count(">f+++++++++") == 2 * len(ASSETS)
    assert run_program(*command) == ""
    for name in found:
        if (mount.path / name).is_file():
            (mount.path / name).read_bytes()  # more of it is cached now
    assert run_program(*command) == ""

    run_program("cp", "-a", mount.path, copies / "cp")
    run_program("tar", "-C", mount.path, "--xattrs", "-cf", copies / "all.tar", ".")
    (copies / "tar").mkdir()
    run_program("tar", "-C", copies / "tar", "--xattrs", "-xf", copies / "all.tar")
    assert run_program("tar", "-C", mount.path, "--xattrs", "-df", copies / "all.tar") == ""
    codes = {asset.embed_code.encode() for asset in ASSETS}
    for name in found:
        expected = kept(mount.path / name)
        if (mount.path / name).is_dir():
            assert expected == {}
        else:
            assert expected["user.backlot.embed_code"] in codes
        assert not any(each.startswith("user.backlotfs.") for each in expected)
        if name.suffix == ".mov":
            assert os.getxattr(mount.path / name, "user.backlotfs.pinned") == b"0"
        for program_name in ("rsync", "cp", "tar"):
            assert kept(copies / program_name / name) == expected


def test_getfattr_shows_every_value_that_is_listed(mount: Mount) -> None:
    """The longest texts can be read; the whole text is in the sidecar."""
    path = mount.file_of(ASSETS[2])
    shown = run_program("getfattr", "--absolute-names", "-d", path)
    assert shown.count("user.") == len(os.listxattr(path))
    assert TEXT * 4 in Path(f"{path}.json").read_text("utf-8")


def test_times_that_no_disk_holds(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """Hosts that send Last-Modified of 1601, 1969 and 9999: the second rsync has nothing to do."""
    contents = [
        SyntheticContent(n, 5000, last_modified=time)
        for n, time in enumerate((-11_644_473_600, -1, 2**31, 2**32, 253_402_300_799))
    ]
    mount = mounted(serve(*(video(f"{n}.mov", each) for n, each in enumerate(contents))))
    command = ("rsync", "-ai", f"{mount.path}/", f"{tmp_path}/copy/")
    assert run_program(*command).count(">f+++++++++") == len(contents)
    assert run_program(*command) == ""
    times = [(mount.path / f"{n}.mov").stat().st_mtime for n in range(len(contents))]
    assert times == [0, 0, 2**31, 2**32 - 1, 2**32 - 1]
