"""Warnings that cannot fill a disk: of each kind one line a minute, whatever clients do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock

INTERVAL_S = 60.0
_logger = logging.getLogger("backlotfs.emulator")


class QuietLog:
    """Writes at most one line per kind and minute. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._lock = Lock()
        self._kinds: dict[str, tuple[float, int]] = {}

    def once_a_minute(self, kind: str, text: str) -> None:
        """Write ``text`` unless the kind was written in the last minute; then only count it.

        :param kind: one of a few fixed words.
        """
        with self._lock:
            now = self._clock()
            written, unwritten = self._kinds.get(kind, (now - INTERVAL_S, 0))
            if now - written < INTERVAL_S:
                self._kinds[kind] = (written, unwritten + 1)
                return
            self._kinds[kind] = (now, 0)
        again = f" ({unwritten} more in the last minute)" if unwritten else ""
        _logger.warning("%s%s", text, again)

    def unexpected(self, doing: str, error: BaseException) -> None:
        """Write one line about an error that no request should be able to cause."""
        place = ""
        traceback = error.__traceback__
        while traceback is not None:
            code = traceback.tb_frame.f_code
            place = f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno}"
            traceback = traceback.tb_next
        text = repr(error)[:200].encode("ascii", "backslashreplace").decode()
        self.once_a_minute("unexpected", f"internal error while {doing}: {text} at {place}")
