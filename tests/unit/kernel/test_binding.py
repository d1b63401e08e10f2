"""The two hottest answers, written straight into the kernel's structures."""

from __future__ import annotations

import ctypes
import stat
import types
from typing import Any

import pytest

from backlotfs.kernel import binding
from backlotfs.kernel.stat_dict import stat_dict
from backlotfs.namespace.attributes import Attributes
from backlotfs.namespace.namespace import Entry
from tests.unit.kernel.made_fuse import Stat, made_fuse

FILE = Attributes(inode=1 << 62, mode=stat.S_IFREG | 0o444, nlink=2, size=5 << 40, mtime_s=1 << 33)
ENTRIES = [Entry("dir", 7, True), Entry("日.mov", 9, False), Entry("z.mov", 11, False)]


def bound(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """An instance over made-up operations, and the paths it asks for."""
    monkeypatch.setattr(binding, "load_fuse", made_fuse)
    asked: list[str] = []

    def attributes(path: str) -> Attributes:
        asked.append(path)
        return FILE

    def listing(path: str) -> list[Entry]:
        asked.append(path)
        return ENTRIES

    operations = types.SimpleNamespace(attributes=attributes, listing=listing, uid=11, gid=12)
    return binding.fuse_class()(operations), asked


def test_getattr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says the same as the dictionary that fusepy would have been given."""
    fuse, asked = bound(monkeypatch)
    for answer in (fuse.getattr, lambda *args: fuse.fgetattr(*args, None)):
        buffer = Stat(st_size=1, st_atimespec=(5, 5))
        assert answer(b"/a\xff.mov", ctypes.pointer(buffer)) == 0
        for name, value in stat_dict(FILE, 11, 12).items():
            if name in ("st_atime", "st_mtime", "st_ctime"):
                time = getattr(buffer, f"{name}spec")
                assert time.tv_sec * 10**9 + time.tv_nsec == value
            else:
                assert getattr(buffer, name) == value
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
