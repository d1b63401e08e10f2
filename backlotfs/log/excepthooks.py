# SPDX-License-Identifier: Apache-2.0
"""Uncaught exceptions are logged redacted, and core files are disabled.

By default, Python writes uncaught exceptions unredacted to stderr. But the text of a library's
exception may contain a signed URL, and the stderr of a mount in the background is ``/dev/null``.
`faulthandler` is safe: it writes files, lines and function names, never values.
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
    """Within the context, log each uncaught exception of any thread as one redacted record.

    An exception of the body, if not ``expected``, ends the command with exit code 1.

    :param expected: exceptions of the body that are passed on to the caller.
    :raises SystemExit: the body raised another exception.
    """
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = _of_thread, _unraisable
    try:
        yield
    except expected:
        raise
    except Exception as error:  # noqa: BLE001  # nothing after this catches it
        _tell("the command", type(error), error, error.__traceback__)
        raise SystemExit(1) from None
    finally:
        threading.excepthook, sys.unraisablehook = before


def keep_no_core() -> None:
    """Disable core files of this process and its children: they would contain the secret."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _of_thread(args: Any) -> None:
    name = args.thread.name if args.thread is not None else "unknown"
    if args.exc_type is not SystemExit:
        _tell(f"thread {name}", args.exc_type, args.exc_value, args.exc_traceback)


def _unraisable(args: Any) -> None:
    # The repr of the object is left out, because it may contain a secret.
    _tell(args.err_msg or "a finaliser", args.exc_type, args.exc_value, args.exc_traceback)


def _tell(
    where: str,
    kind: type[BaseException],
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace)).rstrip()
    events.CRASHED.log(log, where=where, traceback=redacted(text))
