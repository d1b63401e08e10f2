"""Open files that have no source: their bytes are in memory whole, as they were at the open.

A handle keeps its bytes, so whoever reads it sees one version from beginning to end.
"""

from __future__ import annotations

import itertools
import threading
from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.cache.memory import MEMORY, Block
from backlotfs.errors import BadHandle
from backlotfs.fetch.pending_read import PendingRead

#: Handles of sources are counted from 1: no mount lives long enough to come here.
_FIRST = 1 << 48


class _Document(NamedTuple):
    name: str
    content: bytes


class InMemoryFiles:
    """Any thread may call it."""

    def __init__(self) -> None:
        """Nothing is open."""
        self._numbers = itertools.count(_FIRST)
        self._open: dict[int, _Document] = {}

    def __contains__(self, fh: int) -> bool:
        """Whether a handle is one of these, open or closed."""
        return fh >= _FIRST

    def open(self, name: str, content: bytes) -> int:
        """A handle on these bytes. ``name``: for messages."""
        fh = next(self._numbers)
        self._open[fh] = _Document(name, content)
        return fh

    def read(self, fh: int, offset: int, size: int) -> bytes:
        """Bytes ``offset`` to ``offset + size``, fewer at the end. :raises BadHandle: not open."""
        return self._get(fh).content[offset : offset + size]

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """The same, as `SourceReader.begin` has it: complete at once."""
        name, content = self._get(fh)
        wanted = ByteRange(offset, min(offset + size, len(content)))
        if wanted.stop <= offset:
            return None
        demand = PendingRead(wanted, len(content), threading.Lock(), f"reading {name}")
        block = Block(memoryview(content))
        block.used = True  # no host was asked for it
        demand.deliver(0, block, MEMORY)
        return demand

    def release(self, fh: int) -> None:
        """Let go of the bytes. :raises BadHandle: not open."""
        self._get(fh)
        del self._open[fh]

    def _get(self, fh: int) -> _Document:
        document = self._open.get(fh)
        if document is None:
            raise BadHandle(f"file handle {fh} is not open")
        return document
