"""Where log lines go, and that no signed query goes with them."""

from __future__ import annotations

import json
import logging
import logging.handlers
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs import logs

SIGNED = (
    "http://origin.example/a%2Fb?AWSAccessKeyId=AKIA123&Expires=1456868965"
    "&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D&"
)
SECRETS = ("AKIA123", "1456868965", "vjbyPxybdZaNmGa", "YEAiv4")


@pytest.fixture(autouse=True)
def _root_logger_restored() -> Iterator[None]:
    root, library = logging.getLogger(), logging.getLogger("urllib3")
    handlers, level, library_level = root.handlers[:], root.level, library.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    library.setLevel(library_level)


def written(tmp_path: Path, log_format: str = "text", level: str = "info") -> Path:
    """Log to a new file."""
    path = tmp_path / "state" / "mount.log"
    logs.configure(level=level, log_format=log_format, place=str(path))
    return path


def raised(error: Exception) -> Exception:
    """The error, with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_signing_parameters_are_blotted_out(tmp_path: Path, log_format: str) -> None:
    """In messages and in tracebacks; what is not secret stays."""
    path = written(tmp_path, log_format)
    log = logging.getLogger("backlotfs.test")
    log.warning("GET %s failed", SIGNED)
    log.error("unexpected, api_key=%s", "AKIA123", exc_info=raised(OSError(SIGNED)))
    text = path.read_text()
    assert not [secret for secret in SECRETS if secret in text]
    assert "origin.example/a%2Fb" in text
    assert "failed" in text


def test_json_lines(tmp_path: Path) -> None:
    """One object per line, whatever the message holds."""
    path = written(tmp_path, "json")
    logging.getLogger("backlotfs.test").info('quote " and\nnew line, 日本')
    (line,) = path.read_text("utf-8").splitlines()
    found = json.loads(line)
    assert found["message"] == 'quote " and\nnew line, 日本'
    assert (found["level"], found["logger"]) == ("INFO", "backlotfs.test")
    assert found["time"]


def test_json_stays_json_where_something_was_blotted_out(tmp_path: Path) -> None:
    """A quote after a signature is still escaped."""
    path = written(tmp_path, "json")
    logging.getLogger("backlotfs.test").info('GET "http://h/p?signature=abc" failed')
    found = json.loads(path.read_text())
    assert found["message"] == 'GET "http://h/p?<redacted>" failed'


def test_json_tracebacks_stay_on_the_line(tmp_path: Path) -> None:
    """A program that reads the log line by line gets the traceback as a field."""
    path = written(tmp_path, "json")
    log = logging.getLogger("backlotfs.test")
    log.error("a job failed", exc_info=raised(ValueError("boom")))
    (line,) = path.read_text().splitlines()
    assert "ValueError: boom" in line
    assert json.loads(line)["message"] == "a job failed"


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    """Made 0600 in folders made 0700."""
    path = written(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_debug_lines_are_ours_alone(tmp_path: Path) -> None:
    """Debug lines are ours; the HTTP library never gets to name its URLs."""
    path = written(tmp_path, level="debug")
    logging.getLogger("backlotfs.test").debug("kept")
    logging.getLogger("urllib3.connectionpool").debug("GET %s", SIGNED)
    assert "kept" in path.read_text()
    assert "origin.example" not in path.read_text()


def test_below_the_level_nothing_is_written(tmp_path: Path) -> None:
    """A quiet mount is quiet."""
    path = written(tmp_path, level="error")
    logging.getLogger("backlotfs.test").warning("not kept")
    assert path.read_text() == ""


def test_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """In the foreground."""
    logs.configure(level="info", log_format="text", place="stderr")
    logging.getLogger("backlotfs.test").info("here")
    assert "INFO backlotfs.test: here" in capsys.readouterr().err


def test_syslog(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a daemon, with name and process id as syslog wants them."""
    opened: list[tuple[object, ...]] = []

    class Syslog(logging.NullHandler):
        LOG_DAEMON = 3

        def __init__(self, *args: object) -> None:
            opened.append(args)
            super().__init__()

    monkeypatch.setattr(logging.handlers, "SysLogHandler", Syslog)
    logs.configure(level="info", log_format="text", place="syslog")
    assert opened == [("/dev/log", 3)]
    (handler,) = logging.getLogger().handlers
    record = logging.LogRecord("n", logging.INFO, "p", 1, "said", (), None)
    assert handler.format(record).startswith("backlotfs[")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """An OSError, which the caller turns into a sentence."""
    with pytest.raises(IsADirectoryError):
        logs.configure(level="info", log_format="text", place=str(tmp_path))


def test_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's log where there is one, else a file named after the mount."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(Path, "exists", lambda self: str(self) == "/dev/log")
    assert logs.default_place("main") == "syslog"
    monkeypatch.setattr(Path, "exists", lambda _self: False)
    assert logs.default_place("main") == str(tmp_path / "backlotfs" / "main.log")
