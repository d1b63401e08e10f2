"""Who reads: the name of the process behind the id that a request carries.

A request carries the id of a *thread*, and threads have names of their own ("av:demux"); so the
process is looked up, by two files of ``/proc`` that wait for no lock of that process. Its command
line would: a reader that faults on a mapped file of this very mount holds it.
"""

from __future__ import annotations

import threading
from pathlib import Path

from cachetools import TTLCache

from backlotfs.concurrency.clock import Clock

#: Ids are used again, and a shell becomes another program by exec: an answer holds so long.
REMEMBERED_S = 5.0
#: Ids remembered.
IDS_KEPT = 1024
#: The process is gone, or in another namespace of ids; or it is the kernel itself.
UNKNOWN = "(unknown)"

_PROC = Path("/proc")


class ProcessNames:
    """Any thread may call it."""

    def __init__(self, clock: Clock, proc: Path = _PROC) -> None:
        """``proc``: where proc(5) is mounted."""
        self._proc = proc
        self._lock = threading.Lock()
        self._names: TTLCache[int, str] = TTLCache(IDS_KEPT, REMEMBERED_S, timer=clock.monotonic)

    def of(self, thread_id: int) -> str:
        """As ``ps -o comm`` shows it, unprintable characters replaced; `UNKNOWN` at worst."""
        with self._lock:
            name = self._names.get(thread_id)
        if name is None:
            name = self._look_up(thread_id)
            with self._lock:
                self._names[thread_id] = name
        return name

    def _look_up(self, thread_id: int) -> str:
        try:
            status = (self._proc / str(thread_id) / "status").read_bytes()
            process_id = int(status.partition(b"\nTgid:")[2].split(None, 1)[0])
            name = (self._proc / str(process_id) / "comm").read_bytes()
        except (OSError, ValueError, IndexError):
            return UNKNOWN
        text = name.removesuffix(b"\n").decode("utf-8", "replace")
        return (
            "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text) or UNKNOWN
        )
