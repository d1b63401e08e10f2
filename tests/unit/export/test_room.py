# SPDX-License-Identifier: Apache-2.0
"""Room for files that are read at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backlotfs.errors import Interrupted
from backlotfs.export.room import Room
from tests.support.deadlines import wait_until


def test_never_more_than_there_is() -> None:
    """Files of all sizes come and go; each gets its size, or the most of one."""
    room, lock, taken_bytes, most_bytes = Room(100, 40), threading.Lock(), 0, 0

    def read(size_bytes: int) -> int:
        nonlocal taken_bytes, most_bytes
        with room.taken(size_bytes, lambda: None) as window_bytes:
            with lock:
                taken_bytes += window_bytes
                most_bytes = max(most_bytes, taken_bytes)
            threading.Event().wait(0.001)
            with lock:
                taken_bytes -= window_bytes
        return window_bytes

    sizes = [1, 40, 7, 100, 30, 0] * 20
    with ThreadPoolExecutor(16) as threads:
        windows = list(threads.map(read, sizes))
    assert windows == [max(1, min(size, 40)) for size in sizes]
    assert most_bytes <= 100


def test_a_stop_ends_the_wait() -> None:
    """And takes nothing."""
    room, stop = Room(10, 10), threading.Event()

    def go_on() -> None:
        waiting.set()
        if stop.is_set():
            raise Interrupted("stopped")

    def read() -> None:
        with room.taken(10, go_on):
            pass

    waiting = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        with room.taken(10, lambda: None):
            future = threads.submit(read)
            wait_until(waiting.is_set, "the second file")
            stop.set()
            with pytest.raises(Interrupted):
                future.result(10)
        with room.taken(10, lambda: None) as window_bytes:
            assert window_bytes == 10
