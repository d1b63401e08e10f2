# SPDX-License-Identifier: Apache-2.0
"""Reads many parts of files at once: `cat_ranges`, and each read of more than a few megabytes.

All reads that fit into half of the memory for blocks begin before the first read is waited for. The
block loader decides how many GETs run at the same time on a host. Parts of one version with small
gaps between them are one read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.config.settings import MIB
from backlotfs.errors import BacklotError
from backlotfs.fetch.loader import PendingRead
from backlotfs.fetch.stream import stream
from backlotfs.mount.unmounted import OpenedLibrary
from backlotfs.source.version import SourceVersion

#: Reads of more bytes than this use a stream, with GETs of several megabytes.
STREAM_BYTES = 8 * MIB
#: The most bytes of a stream in flight; but at most a quarter of the memory for blocks.
STREAM_WINDOW_BYTES, STREAM_PART = 64 * MIB, 4
#: The largest gap between two parts that are one read: to fetch the bytes of the gap takes less
#: time than another GET.
NEAR_BYTES = 64 * 1024
#: Parts are joined until a read has a `JOINED_PART`-th of all their bytes, within these limits:
#: larger reads cost less, but several connections fetch more bytes in less time than one.
LEAST_JOINED_BYTES, MOST_JOINED_BYTES, JOINED_PART = 1 * MIB, 2 * MIB, 32


class Part(NamedTuple):
    """Bytes of one version that are wanted. ``number``: the position of the answer."""

    number: int
    version: SourceVersion
    wanted: ByteRange


@dataclass(slots=True)
class _Group:
    """Parts of one version that one read fetches."""

    version: SourceVersion
    start: int
    stop: int
    parts: list[Part] = field(default_factory=list)


def read_parts(
    library: OpenedLibrary, parts: Sequence[Part]
) -> Iterator[tuple[int, bytes | BacklotError]]:
    """The number of each part, with its bytes or the error of its read, in any order.

    :param parts: parts inside their sources; no part is empty.
    """
    loader = library.stack.reading.loader
    budget_bytes = library.settings.memory_bytes // 2
    ahead: deque[tuple[_Group, PendingRead | None]] = deque()
    ahead_bytes = 0
    groups = deque(_grouped(parts))
    try:
        while groups or ahead:
            while groups and (not ahead or ahead_bytes < budget_bytes):
                group = groups.popleft()
                length, read = group.stop - group.start, None
                if length <= STREAM_BYTES:
                    read = loader.demand(group.version, ByteRange(group.start, group.stop))
                    ahead_bytes += length
                ahead.append((group, read))
            group, read = ahead.popleft()
            yield from _answers(library, group, read)
            if read is not None:
                ahead_bytes -= read.wanted.length
    finally:
        for _, read in ahead:
            if read is not None:
                read.abandon()


def read_large(
    library: OpenedLibrary, version: SourceVersion, wanted: ByteRange
) -> Iterator[memoryview]:
    """The bytes of a part in order; each view is valid until the next one.

    :raises BacklotError: the bytes cannot be read.
    """
    window_bytes = min(STREAM_WINDOW_BYTES, library.settings.memory_bytes // STREAM_PART)
    loader = library.stack.reading.loader
    return stream(loader, version, wanted.start, window_bytes, library.waiter, wanted.stop)


def _grouped(parts: Sequence[Part]) -> list[_Group]:
    """Join neighbouring parts into reads, ordered by the lowest number of their parts."""
    groups: list[_Group] = []
    now: _Group | None = None
    lengths = [part.wanted.length for part in parts]
    share = sum(length for length in lengths if length <= STREAM_BYTES) // JOINED_PART
    joined_bytes = max(LEAST_JOINED_BYTES, min(MOST_JOINED_BYTES, share))
    for part in sorted(parts, key=lambda one: (one.version.embed_code, one.wanted.start)):
        start, stop = part.wanted.start, part.wanted.stop
        if (
            now is None
            or now.version != part.version
            or start - now.stop > NEAR_BYTES
            or now.stop - now.start >= joined_bytes
            or max(stop, now.stop) - now.start > STREAM_BYTES
        ):
            now = _Group(part.version, start, stop)
            groups.append(now)
        now.stop = max(stop, now.stop)
        now.parts.append(part)
    return sorted(groups, key=lambda group: min(one.number for one in group.parts))


def _answers(
    library: OpenedLibrary, group: _Group, read: PendingRead | None
) -> Iterator[tuple[int, bytes | BacklotError]]:
    views: Sequence[bytes | memoryview]
    try:
        if read is None:
            whole = ByteRange(group.start, group.stop)
            views = [bytes(view) for view in read_large(library, group.version, whole)]
        else:
            read.wait(library.waiter())
            views = read.views()
    except BacklotError as error:
        for part in group.parts:
            yield part.number, error
        return
    starts = list(accumulate(map(len, views), initial=group.start))
    for part in group.parts:
        yield part.number, _cut(views, starts, part.wanted)


def _cut(views: Sequence[bytes | memoryview], starts: Sequence[int], wanted: ByteRange) -> bytes:
    """The wanted bytes. ``starts``: the offset of each view in the source, and of the end."""
    first = bisect_right(starts, wanted.start) - 1
    last = bisect_left(starts, wanted.stop)
    pieces = list(views[first:last])
    pieces[-1] = pieces[-1][: wanted.stop - starts[last - 1]]
    pieces[0] = pieces[0][wanted.start - starts[first] :]
    return b"".join(pieces)
