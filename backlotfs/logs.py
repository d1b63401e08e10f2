"""Where log lines go and how they look; no secret ever gets there."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import stat
import sys
from pathlib import Path

import platformdirs

from backlotfs.redaction import redacted

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Redacting(logging.Formatter):
    """Formats, then redacts, tracebacks included.

    The last line of defence: no message of ours holds a signature, but a library's might.
    """

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class _Json(logging.Formatter):
    """One JSON object per line, redacted before it is quoted."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = redacted(record.stack_info)
        return json.dumps(line, ensure_ascii=False)


def default_place(name: str) -> str:
    """Where a background mount logs: ``syslog`` (the journal, where there is one) or a file.

    :param name: of the mount, for the file's name.
    """
    if Path("/dev/log").exists():
        return "syslog"
    return str(Path(platformdirs.user_state_dir("backlotfs")) / f"{name}.log")


def configure(*, level: str, log_format: str, place: str) -> None:
    """Send all log lines to ``place``: ``stderr``, ``syslog`` or the path of a file (made 0600).

    :param level: ``debug``, ``info``, ``warning`` or ``error``.
    :param log_format: ``text`` or ``json``.
    :raises OSError: when the file cannot be opened.
    """
    handler: logging.Handler
    pattern = _TEXT
    if place == "stderr":
        handler = logging.StreamHandler(sys.stderr)
    elif place == "syslog":
        handler = logging.handlers.SysLogHandler(
            "/dev/log", logging.handlers.SysLogHandler.LOG_DAEMON
        )
        pattern = f"backlotfs[{os.getpid()}]: %(levelname)s %(name)s: %(message)s"
    else:
        path = Path(place)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)  # one that was there before may be open to others
        os.close(descriptor)
        handler = logging.handlers.WatchedFileHandler(path, encoding="utf-8")
    handler.setFormatter(_Json() if log_format == "json" else _Redacting(pattern))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The HTTP library's own debug lines name every URL, and fusepy's quote a traceback for every
    # ENOENT; ours say what matters.
    for library in ("urllib3", "fuse"):
        logging.getLogger(library).setLevel(max(logging.INFO, root.level))
