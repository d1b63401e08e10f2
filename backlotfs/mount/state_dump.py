"""What SIGUSR1 writes to the log: where every thread is, then all that the mount knows of itself.

The threads come first, for they need no lock: of a mount that hangs, they are the part that counts.
Of a thread there are files, lines and functions, and never a value. Threads that are at the same
place, as idle ones of a pool are, share a line.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from backlotfs.log import events
from backlotfs.mount.control.server import Handler
from backlotfs.mount.stack import Stack

log = logging.getLogger(__name__)

#: Names of open files shown; the number is told of all.
NAMES_SHOWN = 50


def dump_state(asked: Mapping[str, Handler], stack: Stack) -> None:
    """Write it.

    :param asked: what answers ``status`` and ``stats``.
    :raises BacklotError: the state cannot be told; the threads have been, then.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = _frames()
    by_place: dict[str, list[str]] = {}
    for ident, frame in stacks.items():
        place = " > ".join(_place(call) for call in traceback.extract_stack(frame))
        # what libfuse or the interpreter started is not Python's to name
        by_place.setdefault(place, []).append(names.get(ident, str(ident)))
    for frames, threads in by_place.items():
        events.STACK.log(log, threads=sorted(threads), frames=frames)
    open_files = stack.reader.open_files()
    details = {
        "status": asked["status"]({}),
        "stats": asked["stats"]({}),
        "open": open_files[:NAMES_SHOWN],
    }
    events.STATE.log(
        log,
        assets=len(stack.catalog.library.rows),
        open_files=len(open_files),
        threads=len(stacks),
        details=details,
    )


def _frames() -> dict[int, FrameType]:
    """The frame of every thread.

    Without the garbage collector: before Python 3.12.1 a finalizer that ran inside of
    `sys._current_frames` could block the whole process for good (CPython issue 106883).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if was_enabled:
            gc.enable()


def _place(call: traceback.FrameSummary) -> str:
    path = Path(call.filename)
    return f"{path.parent.name}/{path.name}:{call.lineno} {call.name}"
