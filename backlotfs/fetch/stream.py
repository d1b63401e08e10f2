# SPDX-License-Identifier: Apache-2.0
"""Reads a source in order, with many GETs ahead: for copies of whole files or large parts.

A mount has to guess what is read next. Here all bytes are wanted, so each GET is one large range,
and as many GETs are in flight as the window has room for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import MIB
from backlotfs.fetch.loader import BlockLoader, PendingRead
from backlotfs.source.version import SourceVersion

#: A window has room for so many GETs: more than downloaders have connections, because a connection
#: is idle until the first byte of its next GET arrives.
GETS_AHEAD = 24
#: The least bytes of one GET: smaller ones cost more. So a window below 96 MiB has fewer GETs.
LEAST_GET_BYTES = 4 * MIB


def stream(
    loader: BlockLoader,
    version: SourceVersion,
    offset: int,
    window_bytes: int,
    waiter: Callable[[], InterruptibleWait],
    end: int | None = None,
) -> Iterator[memoryview]:
    """Yield the bytes from ``offset`` on, without a copy; each view is valid until the next.

    :param window_bytes: the most bytes in flight and in memory for this stream, but at least one
        GET.
    :param waiter: makes the wait for one GET.
    :param end: where the bytes end; None: at the end of the source.
    :raises BacklotError: a GET failed, or its wait ended.
    """
    get_bytes = max(LEAST_GET_BYTES, window_bytes // GETS_AHEAD)
    get_bytes -= get_bytes % loader.block_bytes
    ahead: deque[PendingRead] = deque()
    start, ahead_bytes = offset, 0
    end = version.size if end is None else min(end, version.size)
    try:
        while True:
            while start < end:
                stop = min(start - start % loader.block_bytes + get_bytes, end)
                if ahead and ahead_bytes + stop - start > window_bytes:
                    break
                ahead.append(loader.demand(version, ByteRange(start, stop)))
                ahead_bytes += stop - start
                start = stop
            if not ahead:
                return
            read = ahead.popleft()
            read.wait(waiter())
            yield from read.views()
            ahead_bytes -= read.wanted.length
    finally:
        for read in ahead:
            read.abandon()
