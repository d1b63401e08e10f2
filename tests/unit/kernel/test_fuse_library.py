"""fusepy, loaded late, and the codec of paths."""

from __future__ import annotations

import builtins
import codecs
import os
import shutil
from collections.abc import Callable

import pytest

from backlotfs.errors import FuseUnusable
from backlotfs.kernel import fuse_library
from backlotfs.kernel.fuse_library import PATH_ENCODING, check_usable, load_fuse


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
        (0, False, True, True, "/dev/fuse is missing: .*modprobe fuse"),
        (0, True, False, False, None),
        (1000, True, False, True, "fusermount is missing, .*apt-get install"),
        (1000, True, True, False, "/dev/fuse may not be opened by this user"),
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
