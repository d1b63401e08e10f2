"""What nobody caught: it goes to the log, redacted, and no core file keeps the memory.

Python's own reports go raw to stderr: the text of a foreign exception may quote a signed URL, and
a mount in the background has no stderr to read it on. `faulthandler` needs no taming: it writes
files, lines and function names, never a value.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from backlotfs.log import events
from backlotfs.log.redaction import redacted

log = logging.getLogger(__name__)


@contextlib.contextmanager
def reported(*expected: type[Exception]) -> Iterator[None]:
    """While inside, whatever nobody catches, on any thread, is one redacted record in the log.

    Around a command: an exception of the body ends it with exit code 1.

    :param expected: what the body may raise, for the caller to deal with.
    :raises SystemExit: for any other exception of the body.
    """
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = _of_thread, _unraisable
    try:
        yield
    except expected:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, nobody else has caught it
        _tell("the command", type(error), error, error.__traceback__)
        raise SystemExit(1) from None
    finally:
        threading.excepthook, sys.unraisablehook = before


def keep_no_core() -> None:
    """No core file of this process and its children: it would hold the secret and cached bytes."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _of_thread(args: Any) -> None:
    name = args.thread.name if args.thread is not None else "unknown"
    if args.exc_type is not SystemExit:
        _tell(f"thread {name}", args.exc_type, args.exc_value, args.exc_traceback)


def _unraisable(args: Any) -> None:
    # the object's repr is left out: it may be anything
    _tell(args.err_msg or "a finaliser", args.exc_type, args.exc_value, args.exc_traceback)


def _tell(
    where: str,
    kind: type[BaseException],
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace)).rstrip()
    events.CRASHED.log(log, where=where, traceback=redacted(text))
