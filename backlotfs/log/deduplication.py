"""The same trouble again and again: one line in the log and a count, not a line for each read.

A program that goes on reading what cannot be read, or copies a folder from a host that is gone,
meets one event thousands of times. What repeats is told by its words, numbers aside: they name the
source or the host and the kind of failure, and only seconds, statuses and offsets differ.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

from cachetools import LRUCache

#: Seconds in which the same trouble is written once.
EVERY_S = 60.0
#: Kinds of trouble remembered.
REMEMBERED = 512
#: A number that stands alone: not a part of an embed code, an address or a file's name.
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")


class RepeatFilter(logging.Filter):
    """For a handler: lets a warning or error pass once in `EVERY_S`, the next with the count.

    What is quieter always passes, and so does whatever brings a traceback. Any thread may log.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        """``timer``: seconds on a clock that never goes back."""
        super().__init__()
        self._timer = timer
        self._lock = threading.Lock()
        self._written: LRUCache[tuple[str, str], tuple[float, int]] = LRUCache(REMEMBERED)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is written; its message then says how many were not."""
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  # the handler tells of a record that cannot be formatted
            return True
        kind = (record.name, _NUMBER.sub("#", message))
        with self._lock:
            now_s = self._timer()
            at_s, more = self._written.get(kind, (now_s - EVERY_S, 0))
            if now_s - at_s < EVERY_S:
                self._written[kind] = (at_s, more + 1)
                return False
            self._written[kind] = (now_s, 0)
        if more:
            record.msg, record.args = f"{message} (and {more} more since the last such line)", ()
        return True
