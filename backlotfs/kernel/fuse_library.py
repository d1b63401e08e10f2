"""fusepy, loaded when it is needed, with what it lacks.

Importing fusepy loads libfuse 2 and fails without it, so only this module imports it, and late: a
machine without libfuse still gets its sentence, and every command that does not mount works.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import shutil
import types
from collections.abc import Callable
from typing import Any

from backlotfs.errors import FuseUnusable

#: The codec of paths: bytes that are not UTF-8 become surrogates, which no entry's name has, so
#: that such a path is ENOENT and not a traceback in fusepy's own decoding.
PATH_ENCODING = "backlotfs-path"

_INSTALL = "install it: apt-get install fuse3 libfuse2 (libfuse2t64 on newer systems)"


def load_fuse() -> types.ModuleType:
    """The `fuse` module. :raises FuseUnusable: when libfuse 2 is not there."""
    try:
        import fuse  # late: see the module's docstring
    except OSError:
        raise FuseUnusable(f"libfuse 2 is missing; {_INSTALL}") from None
    codecs.register(_path_codec)
    module: types.ModuleType = fuse
    return module


def check_usable() -> None:
    """Whether a mount can be made at all. :raises FuseUnusable: with what to do."""
    load_fuse()
    if not os.path.exists("/dev/fuse"):
        raise FuseUnusable(
            "/dev/fuse is missing: load the module (modprobe fuse), "
            "or give the container the device"
        )
    if os.geteuid() != 0:
        if shutil.which("fusermount") is None:
            raise FuseUnusable(f"fusermount is missing, which an ordinary user needs; {_INSTALL}")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise FuseUnusable(
                "/dev/fuse may not be opened by this user: chmod 666 /dev/fuse, or join its group"
            )


def interruption_check() -> Callable[[], bool]:
    """A function that tells, in a FUSE callback, whether the caller of that request was killed."""
    interrupted: Any = load_fuse()._libfuse.fuse_interrupted
    interrupted.restype = ctypes.c_int
    return lambda: bool(interrupted())


def _path_codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != PATH_ENCODING:
        return None
    utf_8 = codecs.lookup("utf-8")
    return codecs.CodecInfo(
        name=PATH_ENCODING,
        encode=lambda text, _errors="strict": utf_8.encode(text, "surrogateescape"),
        decode=lambda raw, _errors="strict": utf_8.decode(raw, "surrogateescape"),
    )
