# SPDX-License-Identifier: Apache-2.0
"""Limits how much is read at once: many small files, or a few large ones."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

#: Time between two calls of ``go_on`` during a wait.
_POLL_S = 0.2


class Room:
    """A number of bytes that is shared by the files that are being read. Any thread may call it.

    A file takes as many bytes as its size, up to a limit for one file. So with one limit hundreds
    of small files are read at once, but only a few large ones.
    """

    def __init__(self, all_bytes: int, most_bytes: int) -> None:
        """``most_bytes``: the limit for one file."""
        self._left_bytes = all_bytes
        self._most_bytes = most_bytes
        self._freed = threading.Condition()
        self._turn = threading.Lock()  # so that small files do not overtake a large one

    @contextlib.contextmanager
    def taken(self, size_bytes: int, go_on: Callable[[], None]) -> Iterator[int]:
        """Wait for room; yield the number of bytes that were taken. The end gives them back.

        :param go_on: called while waiting; an exception of it ends the wait.
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


#: The room for the copy of a single file.
UNLIMITED = Room(2**62, 64 * 1024 * 1024)
