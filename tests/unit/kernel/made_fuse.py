"""What is needed of fusepy and libfuse, without either."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import ctypes
import types
from typing import Any


class TimeSpec(ctypes.Structure):
    """``struct timespec``."""

    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class Stat(ctypes.Structure):
    """``struct stat``, in an order of its own."""

    _fields_ = (
        ("st_ino", ctypes.c_ulong),
        ("st_mode", ctypes.c_uint),
        ("st_nlink", ctypes.c_ulong),
        ("st_uid", ctypes.c_uint),
        ("st_gid", ctypes.c_uint),
        ("st_size", ctypes.c_long),
        ("st_blocks", ctypes.c_long),
        ("st_blksize", ctypes.c_long),
        ("st_atimespec", TimeSpec),
        ("st_mtimespec", TimeSpec),
        ("st_ctimespec", TimeSpec),
    )


class Function:
    """A C function that notes its arguments and answers with what it was told."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []
        self.restype: object = None
        self.argtypes: object = None

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args)
        return self.answer


class Fuse:
    """``fuse.FUSE``: only keeps its operations."""

    def __init__(self, operations: object, *args: object, **options: object) -> None:
        self.operations = operations


def made_fuse() -> types.SimpleNamespace:
    """The module, with its ``_libfuse``."""
    context = types.SimpleNamespace(contents=types.SimpleNamespace(fuse=77, pid=4711))
    libfuse = types.SimpleNamespace(
        fuse_get_context=Function(context),
        fuse_get_session=Function(88),
        fuse_session_next_chan=Function(99),
        fuse_interrupted=Function(0),
    )
    return types.SimpleNamespace(FUSE=Fuse, c_stat=Stat, _libfuse=libfuse)
