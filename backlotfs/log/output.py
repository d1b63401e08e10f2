# SPDX-License-Identifier: Apache-2.0
"""Log lines: their formats, where they go, and the suppression of repeated lines.

A text record starts at the margin, and its further lines (a traceback) are indented, so that no
text from a server can look like a record. Logs are read on terminals, so control characters are
escaped as in the output of commands (`terminal`). On a stderr that is connected to the journal
(``JOURNAL_STREAM``) a line starts with its priority (sd-daemon(3)) instead of time and level, which
the journal adds. JSON is one object per line; `docs/logs.md` lists its fields. Every line is
redacted.

A program that reads again and again from a host that is down causes one event thousands of times.
Of such equal lines, one is written per `EVERY_S`, with the number of those left out before it. Two
lines are equal if their texts differ in numbers only: the text names the source or the host, and
the kind of failure.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import logging.handlers
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs
from cachetools import LRUCache

from backlotfs.log import events
from backlotfs.log.redaction import redacted
from backlotfs.log.terminal import escaped, one_json
from backlotfs.trusted_paths import open_log

log = logging.getLogger(__name__)

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LONGEST_NAME = 255
_SYSLOG = "%(levelname)s %(name)s: %(message)s"
_JOURNAL = "%(name)s: %(message)s"
#: Priorities of syslog(3), which sd-daemon(3) expects at the start of a line.
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
#: The level with the fewest lines comes first.
LEVELS = ("error", "warning", "info", "debug")
FORMATS = ("text", "json")
#: Equal warnings and errors are written once in this time, unless the event has its own time.
EVERY_S = 60.0
#: Largest number of different lines that are remembered.
REMEMBERED = 512
#: A number that stands alone: it is not a part of an embed code, an address or a file name.
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")


class _Text(logging.Formatter):
    """Formats and then redacts a record, with its traceback.

    Messages of backlotfs contain no signature; a message of a library might.
    """

    def format(self, record: logging.LogRecord) -> str:
        return escaped(redacted(super().format(record))).replace("\n", "\n  ")


class _Json(logging.Formatter):
    """Formats a record as one JSON object; redacts each text before it is quoted."""

    def format(self, record: logging.LogRecord) -> str:
        made = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": redacted(record.getMessage()),
            "logger": record.name,
        }
        event = getattr(record, "event", None)
        if event is not None:
            line["event"] = event
            line.update(_clean(getattr(record, "fields", {})))
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = redacted(record.stack_info)
        return one_json(line)


class _LogFile(logging.handlers.WatchedFileHandler):
    """Appends to a private file; opens and checks it again after a log rotation has moved it."""

    def _open(self) -> io.TextIOWrapper:
        """:raises UntrustedPath: another user could have created or replaced the file."""
        descriptor = open_log(Path(self.baseFilename))
        return open(descriptor, "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. If the file cannot be opened, the line is lost; no error is raised."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


class _Prioritised(logging.Formatter):
    """Puts the priority in front of each line of another formatter."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{_PRIORITIES.get(record.levelname, 5)}>"
        return mark + self._inner.format(record).replace("\n", f"\n{mark}")


class RepeatFilter(logging.Filter):
    """A handler's filter that passes one of several equal lines per period.

    The period is the event's ``every_s``. Without it, the period is `EVERY_S` for warnings and
    errors, and lines of lower levels always pass. After suppressed warnings, the next equal warning
    has their number. Lines with a traceback always pass. Thread-safe.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        """:param timer: returns seconds on a monotonic clock."""
        super().__init__()
        self._timer = timer
        self._lock = threading.Lock()
        self._written: LRUCache[tuple[str, str], tuple[float, int]] = LRUCache(REMEMBERED)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the line; adds the number of suppressed lines to its message."""
        default_s = EVERY_S if record.levelno >= logging.WARNING else 0.0
        every_s = getattr(record, "every_s", None) or default_s
        if not every_s or record.exc_info:
            return True
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  # the handler reports a record that cannot be formatted
            return True
        kind = (record.name, _NUMBER.sub("#", message))
        with self._lock:
            now_s = self._timer()
            at_s, more = self._written.get(kind, (now_s - every_s, 0))
            if now_s - at_s < every_s:
                self._written[kind] = (at_s, more + 1)
                return False
            self._written[kind] = (now_s, 0)
        if more and record.levelno >= logging.WARNING:
            record.msg, record.args = f"{message} (and {more} more since the last such line)", ()
        return True


def default_place(name: str, mountpoint: Path) -> str:
    """Where a background mount logs: ``syslog`` (the journal reads it) if it exists, else a file.

    :param name: name of the library. The file's name consists of it and the path of the mountpoint,
        so two mounts never share a file.
    """
    if Path("/dev/log").exists():
        return "syslog"
    # Different paths give different names, and a shell needs no quotes for them.
    path = re.sub(r"[^\w./]", _percent_encoded, str(mountpoint).strip("/")).replace("/", "-")
    file = f"{name}@{path}.log"
    if len(os.fsencode(file)) > _LONGEST_NAME:
        file = f"{name}@{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.log"
    return str(Path(platformdirs.user_state_dir("backlotfs")) / file)


def _percent_encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02x}" for byte in os.fsencode(found[0]))


def stderr_is_journal(environ: Mapping[str, str]) -> bool:
    """Whether stderr is connected to the journal (``JOURNAL_STREAM``, systemd.exec(5))."""
    given = environ.get("JOURNAL_STREAM")
    if not given:
        return False
    with contextlib.suppress(OSError):
        status = os.fstat(2)
        return given == f"{status.st_dev}:{status.st_ino}"
    return False


def people_read_stderr(log_format: str) -> bool:
    """Whether people read stderr, so that plain sentences may be written between log lines."""
    return log_format == "text" and not stderr_is_journal(os.environ)


def configure(*, level: str, log_format: str, place: str) -> None:
    """Send all log lines to ``place``: ``stderr``, ``syslog`` or the path of a file (mode 0600).

    :param level: one of `LEVELS`.
    :param log_format: one of `FORMATS`.
    :raises UntrustedPath: another user could have created or replaced the file.
    :raises OSError: the file cannot be opened.
    """
    handler: logging.Handler
    pattern, in_journal = _TEXT, False
    if place == "stderr":
        handler = logging.StreamHandler(sys.stderr)
        in_journal = stderr_is_journal(os.environ)
        pattern = _JOURNAL if in_journal else _TEXT
    elif place == "syslog":
        handler = logging.handlers.SysLogHandler(
            "/dev/log", logging.handlers.SysLogHandler.LOG_DAEMON
        )
        handler.ident = f"backlotfs[{os.getpid()}]: "
        pattern = _SYSLOG
    else:
        handler = _LogFile(Path(place).absolute())
    formatter = _Json() if log_format == "json" else _Text(pattern)
    handler.setFormatter(_Prioritised(formatter) if in_journal else formatter)
    handler.addFilter(RepeatFilter())
    logging.getLogger().handlers[:] = [handler]
    # Otherwise logging would print each line that it cannot write on stderr, unredacted.
    logging.raiseExceptions = False
    set_level(level)


def set_level(level: str) -> None:
    """Set the minimum level to one of `LEVELS`."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    # At the level debug, urllib3 logs every URL, and fusepy a traceback for every ENOENT.
    for library in ("urllib3", "fuse"):
        logging.getLogger(library).setLevel(max(logging.INFO, root.level))


def next_level(now: str, began: str) -> str:
    """The level after ``now`` in `LEVELS`; after ``debug``, the level at the start: ``began``."""
    return began if now == LEVELS[-1] else LEVELS[LEVELS.index(now) + 1]


def change_verbosity(began: str) -> None:
    """Switch to the next level, and log the change whatever the level is.

    :param began: the level that the mount started with.
    """
    root = logging.getLogger()
    was = logging.getLevelName(root.level).lower()
    now = next_level(was, began)
    set_level(LEVELS[-1])
    events.VERBOSITY.log(log, now=now, was=was)
    set_level(now)


def _clean(value: Any) -> Any:
    """Convert a value to JSON types and redact all its texts."""
    if isinstance(value, Mapping):
        return {str(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redacted(str(value))
