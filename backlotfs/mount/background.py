"""Going to the background once the mount answers, and not before.

The fork comes first, while there is one thread; the child does all the work, and tells through a
pipe how it went. The parent exits with the child's code and prints its one line.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn, Protocol, TypedDict

from backlotfs.log import events

log = logging.getLogger(__name__)

#: How a line of the child begins that tells the number of assets.
_LISTED = b"listed "


class Ready(Protocol):
    """Tells whoever started a mount how far it is."""

    def __call__(self, more: str) -> None:
        """The mount answers; ``more``: a further sentence for the user, or empty."""

    def listing(self, assets: int) -> None:
        """The library is listed for the first time; so many assets by now."""


class NobodyWaits:
    """In the foreground the log says how far a mount is."""

    def __call__(self, more: str) -> None:
        """Nothing to tell."""

    def listing(self, assets: int) -> None:
        """Nothing to tell."""


class Outcome(TypedDict):
    """What the child reports: an exit code, and a line for stdout (0) or stderr."""

    code: int
    line: str


def run_in_background(
    work: Callable[[Ready], Outcome],
    said_when_ready: str,
    progress: Callable[[int], None] = lambda _assets: None,
) -> Outcome:
    """Fork; in the child do ``work``; in the parent wait until it is ready or has failed.

    :param work: calls its argument once ready, and returns how it ended.
    :param progress: called in the parent with the number of assets listed so far.
    :returns: in the parent only; a child that ended without a word is a failure.
    """
    _occupy_standard_streams()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(work, said_when_ready, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            while (report := pipe.readline()).startswith(_LISTED):
                progress(int(report[len(_LISTED) :]))
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        raise
    if not report:
        return {"code": 1, "line": "the mount ended before it was ready; see its log"}
    outcome: Outcome = json.loads(report)
    return outcome


class _Pipe:
    """The child's end of the pipe to its parent."""

    def __init__(self, writing: int, said_when_ready: str) -> None:
        self._writing = writing
        self._said = said_when_ready
        self._told = False

    def __call__(self, more: str) -> None:
        # Not before: while it mounts, systemd's automount lets only its own process group look at
        # the mountpoint. All others wait for the mount: we would, for ourselves.
        os.setsid()
        _detach_from_terminal()
        self.tell({"code": 0, "line": "\n".join(filter(None, (self._said, more)))})

    def listing(self, assets: int) -> None:
        """Tell it, while anybody listens."""
        if not self._told:
            self._write(_LISTED + str(assets).encode())

    def tell(self, outcome: Outcome) -> None:
        """The last word; what comes after it is not told."""
        if not self._told:
            self._told = True
            self._write(json.dumps(outcome).encode())
            os.close(self._writing)

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent may be gone: the mount is not
            os.write(self._writing, line + b"\n")


def _child(work: Callable[[Ready], Outcome], said_when_ready: str, writing: int) -> NoReturn:
    ready = _Pipe(writing, said_when_ready)
    outcome: Outcome = {"code": 1, "line": "the mount failed unexpectedly; see its log"}
    try:
        outcome = work(ready)
    except Exception as error:  # noqa: BLE001  # the parent has to be told, whatever it is
        events.MOUNT_FAILED.log(log, exit_code=1, reason="unexpectedly", failure=error)
    finally:
        ready.tell(outcome)
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(outcome["code"])


def _occupy_standard_streams() -> None:
    """Whoever started us may have closed them: then the pipe would be one, and be detached."""
    descriptor = 0
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def _detach_from_terminal() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    os.chdir("/")
