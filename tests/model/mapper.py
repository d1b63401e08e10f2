# SPDX-License-Identifier: Apache-2.0
"""mmap in a process of its own: a page that cannot be had is a SIGBUS, which no test survives."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType

_HEAD = struct.Struct("<iq")
_ROOT = Path(__file__).resolve().parent.parent.parent


class Mapper:
    """Maps files for the test, one at a time; a context manager."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def read(self, path: Path, offset: int, length: int) -> tuple[int, bytes, int]:
        """Open, map, copy that range out of the mapping, unmap, close.

        :return: errno (0: fine) and the bytes; and the errno of the close.
        :raises AssertionError: the mapping ended in SIGBUS.
        """
        child = self._child
        if child is None:
            child = self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.model.mapper"],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{offset} {length} {path}\n".encode())
        child.stdin.flush()
        head = child.stdout.read(_HEAD.size)
        if len(head) < _HEAD.size:
            self._child = None
            raise AssertionError(f"a mapping of {path.name} died: exit code {child.wait()}")
        number, size = _HEAD.unpack(head)
        data = child.stdout.read(size)
        (at_close,) = struct.unpack("<i", child.stdout.read(4))
        return number, data, at_close

    def __enter__(self) -> Mapper:
        """Starts with the first mapping."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()


def map_range(path: str, offset: int, length: int) -> tuple[int, bytes, int]:
    """See `Mapper.read`; in the child."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        return error.errno or -1, b"", 0
    number, data, at_close = 0, b"", 0
    try:
        size = os.fstat(descriptor).st_size
        if size:
            with mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as pages:
                data = pages[offset : offset + length]
    except OSError as error:
        number = error.errno or -1
    try:
        os.close(descriptor)
    except OSError as error:
        at_close = error.errno or -1
    return number, data, at_close


def serve() -> None:
    """Answer one line after another."""
    for line in sys.stdin.buffer:
        offset, length, path = line.decode().rstrip("\n").split(" ", 2)
        number, data, at_close = map_range(path, int(offset), int(length))
        sys.stdout.buffer.write(_HEAD.pack(number, len(data)) + data + struct.pack("<i", at_close))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
