"""fusepy, loaded late, the codec of paths, and the answers that fill the kernel's structures."""

from __future__ import annotations

import builtins
import codecs
import ctypes
import os
import shutil
import stat
import types
from collections.abc import Callable
from typing import Any

import pytest

from backlotfs.errors import FuseUnusable
from backlotfs.kernel import fuse_library
from backlotfs.kernel.fuse_library import PATH_ENCODING, check_usable, load_fuse
from backlotfs.namespace.attributes import Attributes
from backlotfs.namespace.tree import Entry
from tests.unit.kernel.made_fuse import Stat, made_fuse


def test_paths_survive_any_bytes() -> None:
    """What is not UTF-8 becomes surrogates and comes back; fusepy's own decoding would fail."""
    codecs.register(fuse_library._path_codec)
    for raw in (b"/a.mov", "/é日😀".encode(), b"/\xff\xfe.mov", b"/\xed\xa0\x80"):
        text = raw.decode(PATH_ENCODING)
        assert text.encode(PATH_ENCODING) == raw
    assert b"/\xff".decode(PATH_ENCODING) == "/\udcff"
    assert fuse_library._path_codec("utf-8") is None


def test_without_libfuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """fusepy's import fails; the package to install is named."""
    real: Callable[..., object] = builtins.__import__

    def refuse(name: str, *args: object, **more: object) -> object:
        if name == "fuse":
            raise OSError("Unable to find libfuse")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(FuseUnusable, match="libfuse 2 is missing; install it: apt-get"):
        load_fuse()


@pytest.mark.parametrize(
    ("uid", "device", "fusermount", "open_to_user", "says"),
    [
        (0, False, True, True, "/dev/fuse is missing; .*modprobe fuse"),
        (0, True, False, False, None),
        (1000, True, False, True, "fusermount is missing, .*apt-get install"),
        (1000, True, True, False, "may not be opened by this user; .*chmod 666 /dev/fuse"),
        (1000, True, True, True, None),
    ],
)
def test_check_usable(
    uid: int,
    device: bool,
    fusermount: bool,
    open_to_user: bool,
    says: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each missing piece with its remedy; root needs no fusermount."""
    monkeypatch.setattr(fuse_library, "load_fuse", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os.path, "exists", lambda _path: device)
    monkeypatch.setattr(os, "access", lambda _path, _mode: open_to_user)
    monkeypatch.setattr(shutil, "which", lambda _name: "/bin/fusermount" if fusermount else None)
    if says is None:
        check_usable()
    else:
        with pytest.raises(FuseUnusable, match=says):
            check_usable()


FILE = Attributes(
    inode=1 << 62, mode=stat.S_IFREG | 0o444, nlink=2, size=(5 << 40) + 1, mtime_s=1 << 33
)
EXPECTED = {
    "st_ino": 1 << 62, "st_mode": stat.S_IFREG | 0o444, "st_nlink": 2, "st_uid": 11, "st_gid": 12,
    "st_size": (5 << 40) + 1, "st_blocks": (5 << 31) + 1, "st_blksize": 128 * 1024,
}  # fmt: skip
ENTRIES = [Entry("dir", 7, True), Entry("日.mov", 9, False), Entry("z.mov", 11, False)]


def bound(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """An instance over made-up operations, and the paths it asks for."""
    monkeypatch.setattr(fuse_library, "load_fuse", made_fuse)
    asked: list[str] = []

    def getattr_(path: str) -> Attributes:
        asked.append(path)
        return FILE

    def readdir(path: str) -> list[Entry]:
        asked.append(path)
        return ENTRIES

    operations = types.SimpleNamespace(getattr=getattr_, readdir=readdir, owner=(11, 12))
    return fuse_library.fuse_class()(operations), asked


def test_getattr(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of ``struct stat``; what the buffer held before is gone."""
    fuse, asked = bound(monkeypatch)
    for answer in (fuse.getattr, lambda *args: fuse.fgetattr(*args, None)):
        buffer = Stat(st_size=1, st_atimespec=(5, 5))
        assert answer(b"/a\xff.mov", ctypes.pointer(buffer)) == 0
        assert {name: getattr(buffer, name) for name in EXPECTED} == EXPECTED
        for time in (buffer.st_atimespec, buffer.st_mtimespec, buffer.st_ctimespec):
            assert (time.tv_sec, time.tv_nsec) == (1 << 33, 0)
    assert asked == ["/a\udcff.mov"] * 2


@pytest.mark.parametrize("room", [2, 3, 100])
def test_readdir(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names as bytes, with inode and type; it ends when the buffer is full."""
    fuse, asked = bound(monkeypatch)
    filled: list[tuple[bytes, int, bool]] = []

    def filler(buffer: object, name: bytes, pointer: Any, offset: int) -> int:
        assert offset == 0
        found = pointer.contents
        filled.append((name, found.st_ino, stat.S_ISDIR(found.st_mode)))
        return int(len(filled) >= room)

    assert fuse.readdir(b"/", None, filler, 0, None) == 0
    names = [(b".", 0, True), (b"..", 0, True), (b"dir", 7, True)]
    names += [("日.mov".encode(), 9, False), (b"z.mov", 11, False)]
    assert filled == names[: max(3, room)]
    assert asked == ["/"]
