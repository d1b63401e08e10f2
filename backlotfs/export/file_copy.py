"""One file from its source to its final name."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from backlotfs.errors import Interrupted
from backlotfs.export.items import Item
from backlotfs.export.part import PIECE_BYTES, Part, Version


def copy_file(
    item: Item,
    target: Path,
    *,
    record: Callable[[str], None],
    moved: Callable[[int], None],
    stop: threading.Event,
) -> tuple[int, str]:
    """Copy ``item`` to ``target``; its size in bytes and its digest.

    :param record: given the digest of what is complete and proven, before it gets its name.
    :param moved: told of bytes as they are written; at first of those an earlier export left.
    :param stop: set: give up, keeping what is there for the next export.
    :raises ReadBackDiffers: see `Part.seal`.
    :raises Interrupted: ``stop`` was set.
    :raises OSError: of reading or of writing; what was written is kept for the next export.
    """
    source = os.open(item.source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(source)
        version = Version(status.st_size, status.st_mtime_ns)
        target.parent.mkdir(parents=True, exist_ok=True)

        def go_on() -> None:
            if stop.is_set():
                raise Interrupted("stopped")

        part = Part(target, version, go_on)
        try:
            moved(part.length_bytes)
            _fill(part, source, version, moved, go_on)
            # A mount says here that the source was replaced meanwhile: only after this is it whole.
            closing, source = source, -1
            os.close(closing)
            record(part.seal())
            part.publish()
        except BaseException:
            with contextlib.suppress(OSError):
                part.keep()
            raise
        finally:
            part.close()
    finally:
        if source >= 0:
            with contextlib.suppress(OSError):
                os.close(source)
    return version.size_bytes, part.digest


def _fill(
    part: Part,
    source: int,
    version: Version,
    moved: Callable[[int], None],
    go_on: Callable[[], None],
) -> None:
    buffer = memoryview(bytearray(PIECE_BYTES))
    while count := os.preadv(source, [buffer], part.length_bytes):
        go_on()
        part.write(buffer[:count])
        moved(count)
    status = os.fstat(source)
    if (part.length_bytes, Version(status.st_size, status.st_mtime_ns)) != (
        version.size_bytes,
        version,
    ):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
