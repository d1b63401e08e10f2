"""Where log lines go and how they look; no secret ever gets there.

Text is for people: a record begins at the margin, and whatever follows on further lines (a
traceback) is indented, so that no text of a server's can pass for a record; a log is read on
terminals, so what commands escape (`terminal`) is escaped here too. On stderr that is the
journal's (``JOURNAL_STREAM``) a line bears its priority in front (sd-daemon(3)) instead of time and
level, which the journal has of its own. JSON is one object per line; `docs/logs.md` has its fields.
"""

from __future__ import annotations

import contextlib
import io
import logging
import logging.handlers
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from backlotfs.log import events
from backlotfs.log.deduplication import RepeatFilter
from backlotfs.log.redaction import redacted
from backlotfs.log.terminal import escaped, one_json
from backlotfs.trusted_paths import open_log

log = logging.getLogger(__name__)

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SYSLOG = "%(levelname)s %(name)s: %(message)s"
_JOURNAL = "%(name)s: %(message)s"
#: syslog(3)'s, as sd-daemon(3) wants them in front of a line.
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
#: Quietest first.
LEVELS = ("error", "warning", "info", "debug")
FORMATS = ("text", "json")


class _Text(logging.Formatter):
    """Formats, then redacts, tracebacks included.

    The last line of defence: no message of ours holds a signature, but a library's might.
    """

    def format(self, record: logging.LogRecord) -> str:
        return escaped(redacted(super().format(record))).replace("\n", "\n  ")


class _Json(logging.Formatter):
    """One JSON object per line, redacted before it is quoted."""

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
    """A file of ours alone; opened anew, and checked anew, when a log rotation has moved it."""

    def _open(self) -> io.TextIOWrapper:
        """:raises UntrustedPath: another user could have made or replaced it."""
        descriptor = open_log(Path(self.baseFilename))
        return open(descriptor, "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; without a file it is lost, and whoever logs it goes on."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


class _Prioritised(logging.Formatter):
    """Another formatter's lines, each with its priority in front."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{_PRIORITIES.get(record.levelname, 5)}>"
        return mark + self._inner.format(record).replace("\n", f"\n{mark}")


def default_place(name: str) -> str:
    """Where a background mount logs: ``syslog`` (the journal, where there is one) or a file.

    :param name: of the mount, for the file's name.
    """
    if Path("/dev/log").exists():
        return "syslog"
    return str(Path(platformdirs.user_state_dir("backlotfs")) / f"{name}.log")


def stderr_is_the_journals(environ: Mapping[str, str]) -> bool:
    """Whether stderr is the journal's: systemd.exec(5), ``JOURNAL_STREAM``."""
    given = environ.get("JOURNAL_STREAM")
    if not given:
        return False
    with contextlib.suppress(OSError):
        status = os.fstat(2)
        return given == f"{status.st_dev}:{status.st_ino}"
    return False


def people_read_stderr(log_format: str) -> bool:
    """Whether a bare sentence on stderr is fine, beside a log that goes there too."""
    return log_format == "text" and not stderr_is_the_journals(os.environ)


def configure(*, level: str, log_format: str, place: str) -> None:
    """Send all log lines to ``place``: ``stderr``, ``syslog`` or the path of a file (made 0600).

    :param level: one of `LEVELS`.
    :param log_format: one of `FORMATS`.
    :raises UntrustedPath: another user could have made or replaced the file.
    :raises OSError: when the file cannot be opened.
    """
    handler: logging.Handler
    pattern, in_journal = _TEXT, False
    if place == "stderr":
        handler = logging.StreamHandler(sys.stderr)
        in_journal = stderr_is_the_journals(os.environ)
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
    # A line that cannot be written is lost: logging's own complaint would quote it raw on stderr.
    logging.raiseExceptions = False
    set_level(level)


def set_level(level: str) -> None:
    """Say from now on what is of this level (one of `LEVELS`) or above it."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    # The HTTP library's own debug lines name every URL, and fusepy's quote a traceback for every
    # ENOENT; ours say what matters.
    for library in ("urllib3", "fuse"):
        logging.getLogger(library).setLevel(max(logging.INFO, root.level))


def next_level(now: str, began: str) -> str:
    """One step more than ``now``; after ``debug`` it is the level that the mount ``began`` with."""
    return began if now == LEVELS[-1] else LEVELS[LEVELS.index(now) + 1]


def change_verbosity(began: str) -> None:
    """Take the next of the levels, and say so whatever the level was.

    :param began: what the mount was started with.
    """
    root = logging.getLogger()
    was = logging.getLevelName(root.level).lower()
    now = next_level(was, began)
    set_level(LEVELS[-1])
    events.VERBOSITY.log(log, now=now, was=was)
    set_level(now)


def _clean(value: Any) -> Any:
    """``value`` as JSON takes it, every text in it redacted."""
    if isinstance(value, Mapping):
        return {str(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redacted(str(value))
