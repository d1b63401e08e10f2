"""Exports onto disks that take two names for one file: no file is replaced by that of another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounting import served_by

pytestmark = pytest.mark.mounted

#: A folder as a disk that leaves out dots at the end of names, and has no hard links: FAT for one.
#: With "fold" it ignores case too.
_PROGRAM = """
import errno, os, sys
from fuse import FUSE, FuseOSError, Operations

class Disk(Operations):
    use_ns = True

    def __init__(self, root, fold):
        self.root, self.fold = root, fold

    def place(self, path):
        found = self.root
        for part in filter(None, path.split("/")):
            name = part.rstrip(" .") or part
            same = [n for n in os.listdir(found) if self.fold and n.casefold() == name.casefold()]
            found = os.path.join(found, same[0] if same else name)
        return found

    def __call__(self, operation, *arguments):
        try:
            return super().__call__(operation, *arguments)
        except FuseOSError:
            raise
        except OSError as error:
            raise FuseOSError(error.errno)

    def getattr(self, path, fh=None):
        status = os.lstat(self.place(path))
        kept = ("mode", "uid", "gid", "size", "nlink", "ino", "blocks")
        times = {f"st_{time}": getattr(status, f"st_{time}_ns") for time in ("mtime", "ctime")}
        return {f"st_{key}": getattr(status, f"st_{key}") for key in kept} | times

    def statfs(self, path):
        status = os.statvfs(self.root)
        kept = ("f_bavail", "f_blocks", "f_bsize", "f_frsize")
        return {key: getattr(status, key) for key in kept}

    def link(self, target, source):
        raise FuseOSError(errno.EPERM)

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self.place(path))]

    def mkdir(self, path, mode):
        os.mkdir(self.place(path), mode)

    def rmdir(self, path):
        os.rmdir(self.place(path))

    def unlink(self, path):
        os.unlink(self.place(path))

    def rename(self, old, new):
        os.rename(self.place(old), self.place(new))

    def open(self, path, flags):
        return os.open(self.place(path), flags)

    def create(self, path, mode, fi=None):
        return os.open(self.place(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(self.place(path), length)

    def utimens(self, path, times=None):
        os.utime(self.place(path), ns=times)

    def fsync(self, path, only_data, fh):
        return 0

    def release(self, path, fh):
        os.close(fh)

FUSE(
    Disk(sys.argv[1], "fold" in sys.argv), sys.argv[2], foreground=True, nothreads=True,
    use_ino=True, attr_timeout=0, entry_timeout=0,
)
"""


@pytest.fixture(params=["dots", "fold"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Its mountpoint."""
    root, place = tmp_path / "root", tmp_path / "disk"
    root.mkdir()
    place.mkdir()
    with served_by(_PROGRAM, place, root, place, request.param):
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
