# SPDX-License-Identifier: Apache-2.0
"""A command forks a mount into the background and waits until the mount answers or has failed.

The command forks first, while the process has one thread. The child does all the work and reports
through a pipe. The report has a line and an exit code: the parent prints the line and exits with
the code.
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

#: Start of a line from the child; the number of assets listed so far follows.
_LISTED = b"listed "


class Ready(Protocol):
    """Receives the progress of a mount that starts."""

    def __call__(self, more: str) -> None:
        """The mount answers. ``more`` has more lines for the user, or is empty."""

    def listing(self, assets: int) -> None:
        """The first listing of the library has this many assets so far."""


class NobodyWaits:
    """Implementation of `Ready` for a foreground mount, where no command waits. It does nothing."""

    def __call__(self, more: str) -> None:
        """Do nothing."""

    def listing(self, assets: int) -> None:
        """Do nothing."""


class Outcome(TypedDict):
    """The result of the start of a mount: an exit code, and a line for stdout (0) or stderr."""

    code: int
    line: str


def run_in_background(
    work: Callable[[Ready], Outcome],
    said_when_ready: str,
    progress: Callable[[int], None] = lambda _assets: None,
) -> Outcome:
    """Fork; the child does ``work``, the parent waits until the mount is ready or has failed.

    SIGTERM and SIGINT end the mount that starts; else it would appear after the command has ended.
    A second SIGTERM ends the parent at once.

    :param work: calls its argument when the mount answers, and returns the result of the mount.
    :param said_when_ready: the line that the parent prints on success.
    :param progress: called in the parent with the number of assets listed so far.
    :returns: the outcome, in the parent only; a child that ends without a report has failed.
    """
    _occupy_standard_streams()
    reading, writing = os.pipe()
    # a signal that arrives now waits until there is a child to pass it to
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    try:
        child = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(reading)
        _child(work, said_when_ready, writing)
    os.close(writing)

    def end_child(*_: object) -> None:
        os.kill(child, signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, end_child)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with os.fdopen(reading, "rb") as pipe:
            while (report := pipe.readline()).startswith(_LISTED):
                progress(int(report[len(_LISTED) :]))
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
    if not report:
        return {"code": 1, "line": "the mount ended before it was ready; see its log"}
    outcome: Outcome = json.loads(report)
    return outcome


class _Pipe:
    """The child's end of the pipe to its parent.

    :ivar sent: whether the outcome was sent.
    """

    def __init__(self, writing: int, said_when_ready: str) -> None:
        self._writing = writing
        self._said = said_when_ready
        self.sent = False

    def __call__(self, more: str) -> None:
        # The process group is changed only now. While systemd's automount waits for the mount, only
        # the original process group can access the mountpoint; other processes wait for the mount.
        os.setsid()
        _detach_from_terminal()
        self.send({"code": 0, "line": "\n".join(filter(None, (self._said, more)))})

    def listing(self, assets: int) -> None:
        """Send the number, unless the outcome was sent already."""
        if not self.sent:
            self._write(_LISTED + str(assets).encode())

    def send(self, outcome: Outcome) -> None:
        """Send the outcome and close the pipe; later calls do nothing."""
        if not self.sent:
            self.sent = True
            self._write(json.dumps(outcome).encode())
            os.close(self._writing)

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent may have ended; the mount goes on
            os.write(self._writing, line + b"\n")


def _child(work: Callable[[Ready], Outcome], said_when_ready: str, writing: int) -> NoReturn:
    ready = _Pipe(writing, said_when_ready)
    outcome: Outcome = {"code": 1, "line": "the mount failed unexpectedly; see its log"}
    try:
        outcome = work(ready)
    except Exception as error:  # noqa: BLE001  # the parent needs an outcome for every error
        events.MOUNT_FAILED.log(log, exit_code=1, reason="unexpectedly", failure=error)
    finally:
        if not ready.sent and not outcome["code"]:
            outcome = {"code": 1, "line": "the mount was ended before it was ready"}
        ready.send(outcome)
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(outcome["code"])


def _occupy_standard_streams() -> None:
    """Open those of the descriptors 0 to 2 that are closed, so that the pipe gets other numbers."""
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
