# SPDX-License-Identifier: Apache-2.0
"""Blocks that wait for the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from backlotfs.cache.disk.write_queue import PendingBlock, WriteQueue
from tests.fakes.workers import PATIENCE_S, in_threads, join_all
from tests.unit.cache.disk_blocks import key

LIMIT = 3
#: A wait in vain, and many of them: far more than asking a thousand times takes.
WAIT_S = 0.2


class Disk:
    """Hangs unless it is ``well``."""

    def __init__(self) -> None:
        self.well = threading.Event()
        self.queue = WriteQueue(self._write, LIMIT)

    def _write(self, _batch: Sequence[PendingBlock]) -> None:
        assert self.well.wait(PATIENCE_S)

    def put(self, number: int) -> bool:
        """A block."""
        return self.queue.submit(PendingBlock(key(number), b"x", None, 0))


@pytest.fixture
def disk() -> Iterator[Disk]:
    """That hangs."""
    found = Disk()
    yield found
    found.well.set()
    assert found.queue.close()


def test_a_disk_that_hangs_is_waited_for_once(disk: Disk) -> None:
    """Nobody after that is held up, but for who is more patient; until it takes something."""
    assert all(disk.put(number) for number in range(LIMIT))
    assert not disk.put(LIMIT)
    assert not disk.queue.wait_for_room(WAIT_S)
    began = time.monotonic()
    assert not any(disk.queue.wait_for_room(WAIT_S) for _ in range(1000))
    assert time.monotonic() - began < 500 * WAIT_S
    disk.well.set()
    assert disk.queue.wait_for_room(PATIENCE_S)
    assert disk.queue.drain(PATIENCE_S)
    disk.well.clear()
    assert all(disk.put(number) for number in range(LIMIT))
    began = time.monotonic()
    assert not disk.queue.wait_for_room(WAIT_S)
    assert time.monotonic() - began >= WAIT_S


def test_who_waits_for_room_gets_it(disk: Disk) -> None:
    """All who came, as soon as the disk has taken something."""
    assert all(disk.put(number) for number in range(LIMIT))
    found: list[bool] = []
    waiting = in_threads(4, lambda _number: found.append(disk.queue.wait_for_room(PATIENCE_S)))
    disk.well.set()
    join_all(waiting)
    assert found == [True] * 4
