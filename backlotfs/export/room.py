# SPDX-License-Identifier: Apache-2.0
"""How much is read at once: many small files, or a few large ones."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

#: Time between two checks whether to stop.
_POLL_S = 0.2


class Room:
    """A number of bytes that files being read share. Any thread may call it.

    A file takes its size, at most a part of all. So one limit lets hundreds of small files be read
    at once, and few large ones.
    """

    def __init__(self, all_bytes: int, most_bytes: int) -> None:
        """``most_bytes``: for one file."""
        self._left_bytes = all_bytes
        self._most_bytes = most_bytes
        self._freed = threading.Condition()
        self._turn = threading.Lock()  # in the order of their coming: a large file is not passed

    @contextlib.contextmanager
    def taken(self, size_bytes: int, go_on: Callable[[], None]) -> Iterator[int]:
        """Wait for room; the bytes that were taken, which are given back at the end.

        :param go_on: called while waiting; what it raises ends the wait.
        """
        taken_bytes = max(1, min(size_bytes, self._most_bytes))
        with self._turn, self._freed:
            while self._left_bytes < taken_bytes:
                go_on()
                self._freed.wait(_POLL_S)
            self._left_bytes -= taken_bytes
        try:
            yield taken_bytes
        finally:
            with self._freed:
                self._left_bytes += taken_bytes
                self._freed.notify()


#: For a single file.
UNLIMITED = Room(2**62, 64 * 1024 * 1024)
