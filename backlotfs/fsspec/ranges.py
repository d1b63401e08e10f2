# SPDX-License-Identifier: Apache-2.0
"""Reads many parts of files at once: `cat_ranges`, and each read of more than a few megabytes.

All reads begin before the first is waited for, as far as half of the memory for blocks holds them;
the block loader decides how many GETs its host can use. Parts of one version that touch, or nearly
so, are one GET.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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

#: More bytes than this are read as a stream, in GETs of several megabytes.
STREAM_BYTES = 8 * MIB
#: A stream has at most so many bytes in flight, or this part (1/4) of the memory for blocks.
STREAM_WINDOW_BYTES, STREAM_PART = 64 * MIB, 4
#: Two parts so near to each other are one GET: more bytes come in less time than another answer.
NEAR_BYTES = 64 * 1024
#: But not more than so many bytes: several connections bring them in less time than one.
JOINED_BYTES = 1 * MIB


class Part(NamedTuple):
    """Bytes of one version that somebody wants. ``number``: whose they are."""

    number: int
    version: SourceVersion
    wanted: ByteRange


@dataclass(slots=True)
class _Group:
    """Parts of one version that are one read."""

    version: SourceVersion
    start: int
    stop: int
    parts: list[Part] = field(default_factory=list)


def read_parts(
    library: OpenedLibrary, parts: Sequence[Part]
) -> Iterator[tuple[int, bytes | BacklotError]]:
    """The bytes of each part by its number, or the error of its read, in any order.

    :param parts: inside their sources, none empty.
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
    """The bytes of a part in order; each view is valid until the next. :raises BacklotError: …"""
    window_bytes = min(STREAM_WINDOW_BYTES, library.settings.memory_bytes // STREAM_PART)
    loader = library.stack.reading.loader
    return stream(loader, version, wanted.start, window_bytes, library.waiter, wanted.stop)


def _grouped(parts: Iterable[Part]) -> list[_Group]:
    """Reads of neighbouring parts, in the order in which their first parts were given."""
    groups: list[_Group] = []
    now: _Group | None = None
    for part in sorted(parts, key=lambda one: (one.version.embed_code, one.wanted.start)):
        start, stop = part.wanted.start, part.wanted.stop
        if (
            now is None
            or now.version != part.version
            or start - now.stop > NEAR_BYTES
            or max(stop, now.stop) - now.start > JOINED_BYTES
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
    """The wanted bytes, copied once; ``starts`` has the place of each view in the source."""
    first = bisect_right(starts, wanted.start) - 1
    last = bisect_left(starts, wanted.stop)
    pieces = list(views[first:last])
    pieces[-1] = pieces[-1][: wanted.stop - starts[last - 1]]
    pieces[0] = pieces[0][wanted.start - starts[first] :]
    return b"".join(pieces)
