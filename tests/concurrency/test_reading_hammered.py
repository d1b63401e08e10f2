# SPDX-License-Identifier: Apache-2.0
"""Many threads, many handles, little memory: every byte as expected."""

from __future__ import annotations

import random

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.workers import Workers
from backlotfs.errors import RemoteUnavailable
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion
from tests.fakes.records import source_version
from tests.fakes.sources import expected_bytes, land, read_bytes
from tests.fakes.workers import in_threads, join_all
from tests.unit.open_files.stack import ReadingStack

SIZE = 3000
SOURCES = [source_version(f"E{number}", SIZE, etag=f'"v{number}"') for number in range(3)]
EXPECTED = [expected_bytes(source, ByteRange(0, SIZE)) for source in SOURCES]


def test_every_byte_is_right() -> None:
    """Sequential and random readers of three sources, over fetches that fail now and then."""
    flaky = random.Random(5)

    def fetch(
        identity: SourceVersion, wanted: ByteRange, landing: BufferSink, deadline: Deadline
    ) -> None:
        rooms = flaky.randrange(3) if flaky.random() < 0.2 else SIZE
        reached = wanted.start
        while reached < wanted.stop:
            views = landing.buffers()
            if not rooms:
                raise RemoteUnavailable("planned")
            begins, reached = reached, land(identity, reached, views)
            landing.commit(reached - begins)
            rooms -= 1

    stack = ReadingStack(
        fetch=fetch, workers=Workers(16, "transfer"), budget_bytes=800, ahead_bytes=400
    )
    wrong: list[str] = []

    def body(number: int) -> None:
        chance = random.Random(number)
        which = number % len(SOURCES)
        fh = stack.reader.open(SOURCES[which])
        at = 0
        for _ in range(60):
            start = at if number % 2 else chance.randrange(SIZE)
            length = chance.randrange(1, 130)
            try:
                found = read_bytes(stack.reader, fh, start, length)
            except RemoteUnavailable as error:
                if str(error) != "planned":
                    wrong.append(str(error))
                continue
            if found != EXPECTED[which][start : start + length]:
                wrong.append(f"reader {number}: {start}+{length}")
            at = (start + length) % SIZE
        stack.reader.release(fh)

    join_all(in_threads(12, body))
    assert not wrong
    assert stack.cached_bytes <= 800
    assert stack.pool.free_slots == stack.pool.slots - len(stack.cache)
    assert stack.store.prefetch_bytes == 0
    assert len(stack.handles) == 0
