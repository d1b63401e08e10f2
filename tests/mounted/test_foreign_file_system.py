# SPDX-License-Identifier: Apache-2.0
"""A FUSE file system of another user says that its files are ours: it is not believed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backlotfs.trusted_paths import (
    UntrustedPath,
    check_folder,
    open_folder,
    open_log,
    open_private_folder,
    read_secret,
)
from tests.support.mounting import served_by

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts as another user"),
]

STRANGER = 45002
#: What is mounted: a folder with a folder and a file in it, or a file; root's alone, it says.
_PROGRAM = """
import os, stat, sys
from fuse import FUSE, FuseOSError, Operations

class Liar(Operations):
    def getattr(self, path, fh=None):
        kinds = {"/": sys.argv[2], "/folder": "folder", "/file": "file"}
        if path not in kinds:
            raise FuseOSError(2)
        mode = stat.S_IFDIR | 0o700 if kinds[path] == "folder" else stat.S_IFREG | 0o600
        return {"st_mode": mode, "st_uid": 0, "st_gid": 0, "st_nlink": 1, "st_size": 2}

    def read(self, path, size, offset, fh):
        return b"hi"[offset:]

os.setreuid(int(sys.argv[3]), 0)  # libfuse tells the kernel the first as the owner of the mount
FUSE(Liar(), sys.argv[1], foreground=True, nothreads=True, allow_other=True, fsname="a\\fb")
"""


@pytest.fixture(params=["folder", "file"])
def foreign(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A place in a sticky folder, where another user has mounted something."""
    tmp_path.chmod(0o1777)
    place = tmp_path / "theirs"
    if request.param == "folder":
        place.mkdir(0o700)
    else:
        place.touch(0o600)
    with served_by(_PROGRAM, place, place, request.param, str(STRANGER)):
        yield place


def test_nothing_is_kept_in_or_read_from_it(foreign: Path) -> None:
    """Whether the mountpoint is a folder or a file; what it says of owner and mode is right."""
    uses: list[Callable[[], object]]
    if foreign.is_dir():
        assert foreign.stat().st_mode & 0o777 == 0o700
        uses = [
            lambda: check_folder(foreign),
            lambda: open_folder(foreign / "folder", make=False),
            lambda: open_private_folder(foreign, make=True),
            lambda: open_private_folder(foreign / "folder", make=True, tighten=True),
            lambda: open_log(foreign / "file"),
            lambda: read_secret(foreign / "file"),
        ]
    else:
        assert foreign.stat().st_mode & 0o777 == 0o600
        uses = [lambda: open_log(foreign), lambda: read_secret(foreign)]
    for use in uses:
        with pytest.raises(UntrustedPath, match=f"{foreign}.* is on a file system of another user"):
            use()


def test_file_systems_of_the_kernel_and_of_root_are_used(tmp_path: Path) -> None:
    """``/proc`` and ``/dev/shm`` for two; and a FUSE file system that root mounted."""
    check_folder(Path("/proc/self"))
    place = tmp_path / "roots"
    place.mkdir(0o700)
    with served_by(_PROGRAM, place, place, "folder", "0"):
        os.close(open_private_folder(place / "folder", make=False))
        assert read_secret(place / "file") == b"hi"
