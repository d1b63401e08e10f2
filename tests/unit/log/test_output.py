# SPDX-License-Identifier: Apache-2.0
"""Where log lines go, and that no signed query goes with them."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import stat
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backlotfs.log import events, output
from backlotfs.log.redaction import MARK

SIGNED = (
    "http://origin.example/a%2Fb?AWSAccessKeyId=AKIA123&Expires=1456868965"
    "&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D&"
)
SECRETS = ("AKIA123", "1456868965", "vjbyPxybdZaNmGa", "YEAiv4")


@pytest.fixture(autouse=True)
def _root_logger_restored() -> Iterator[None]:
    root, libraries = logging.getLogger(), [logging.getLogger(name) for name in ("urllib3", "fuse")]
    handlers, levels = root.handlers[:], [logger.level for logger in (root, *libraries)]
    raises = logging.raiseExceptions
    yield
    logging.raiseExceptions = raises
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    for logger, level in zip((root, *libraries), levels, strict=True):
        logger.setLevel(level)


def written(tmp_path: Path, log_format: str = "text", level: str = "info") -> Path:
    """Log to a new file."""
    path = tmp_path / "state" / "mount.log"
    output.configure(level=level, log_format=log_format, place=str(path))
    return path


def raised(error: Exception) -> Exception:
    """The error, with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_that_cannot_be_written(log_format: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Is lost: whoever logs it goes on, and nobody quotes it raw on stderr."""
    output.configure(level="info", log_format=log_format, place="/dev/full")
    logging.getLogger("backlotfs.test").warning("GET %s failed", SIGNED)
    logging.getLogger("backlotfs.test").warning("%d bytes of %s", SIGNED)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(OSError, match="No space left"):
        logging.getLogger().handlers[0].close()


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
    assert (found["level"], found["logger"]) == ("info", "backlotfs.test")
    assert datetime.fromisoformat(found["time"]).utcoffset() == timedelta(0)
    assert "event" not in found


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


@pytest.mark.parametrize("how", ["moved", "removed", "create 0644", "copytruncate", "folder"])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_holds_over_rotation(tmp_path: Path, how: str, umask: int) -> None:
    """The next line is in a file of the old name that only its owner can read, every time."""
    before = os.umask(umask)
    try:
        path = written(tmp_path)
        log = logging.getLogger("backlotfs.test")
        for turn in ("first", "second"):
            log.warning("before the %s rotation", turn)
            if how == "folder":
                path.parent.rename(path.parent.with_name(f"old-{turn}"))
            elif how == "copytruncate":
                os.truncate(path, 0)
            elif how == "removed":
                path.unlink()
            else:
                path.rename(path.with_name(f"{path.name}.{turn}"))
            if how == "create 0644":
                path.touch()
                path.chmod(0o644)
            log.warning("after the %s rotation", turn)
            (line,) = path.read_text().splitlines()
            assert f"after the {turn} rotation" in line
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_events_in_json(tmp_path: Path) -> None:
    """Name and fields stand beside the sentence; numbers stay numbers, secrets go, also inside."""
    path = written(tmp_path, "json")
    log = logging.getLogger("backlotfs.test")
    events.HOST_DOWN.log(log, host="h", reason="no route", seconds=1.5)
    events.STATE.log(log, assets=1, open_files=0, threads=2, details={"url": [SIGNED], "n": None})
    events.MOUNTED.log(
        log, source=f"backlot:{SIGNED}", mountpoint=Path("/m"), assets=3, version="1"
    )
    down, state, mounted = (json.loads(line) for line in path.read_text().splitlines())
    assert (down["event"], down["host"], down["seconds"]) == ("host-down", "h", 1.5)
    assert down["message"] == "no route; trying h again every 1.5 s"
    assert state["details"] == {"url": [f"{SIGNED.partition('?')[0]}?{MARK}"], "n": None}
    assert mounted["mountpoint"] == "/m"
    assert not [secret for secret in SECRETS if secret in path.read_text()]


def test_an_event_below_the_level_is_not_written(tmp_path: Path) -> None:
    """Or above it, where it is louder than usual."""
    path = written(tmp_path, level="warning")
    log = logging.getLogger("backlotfs.test")
    events.DISK_CACHE_OFF.log(log, reason="quiet")
    events.DISK_CACHE_OFF.log(log, at=logging.WARNING, reason="loud")
    assert "quiet" not in path.read_text()
    assert path.read_text().endswith("WARNING backlotfs.test: loud\n")


def test_nothing_passes_for_a_record(tmp_path: Path) -> None:
    """Further lines are indented, and control characters are shown."""
    path = written(tmp_path)
    forged = "a\n2026-01-01 00:00:00,000 ERROR root: forged\r\x1b[2Jb\x85c\u2028d\x9b2J\u202e"
    logging.getLogger("backlotfs.test").info("%s", forged)
    first, second = path.read_text().split("\n")[:2]
    assert first.endswith(": a")
    assert second == (
        "  2026-01-01 00:00:00,000 ERROR root: "
        r"forged\x0d\x1b[2Jb\x85c\u2028d\x9b2J\u202e"
    )


def test_json_is_ascii(tmp_path: Path) -> None:
    """Whatever a server's text holds: a log is read on terminals too."""
    path = written(tmp_path, "json")
    hostile = "é\x1b[2J\x7f\x85\x9b2J\u202e\ud800"
    logging.getLogger("backlotfs.test").info("%s", hostile)
    text = path.read_text(encoding="ascii")
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert json.loads(text)["message"] == hostile


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_stderr_of_the_journal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log_format: str
) -> None:
    """A priority in front of each line, and no second time and level in a text."""
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        monkeypatch.setattr(os, "fstat", lambda _descriptor: status)
        monkeypatch.setattr(sys, "stderr", journal)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        output.configure(level="info", log_format=log_format, place="stderr")
        log = logging.getLogger("backlotfs.test")
        log.info("said")
        log.error("failed", exc_info=raised(ValueError("boom")))
        journal.seek(0)
        said, failed, *rest = journal.read().splitlines()
    assert not output.people_read_stderr(log_format)
    if log_format == "json":
        assert (said[:3], failed[:3]) == ("<6>", "<3>")
        assert json.loads(said[3:])["message"] == "said"
        assert rest == []
    else:
        assert said == "<6>backlotfs.test: said"
        assert all(line.startswith("<3>  ") for line in rest)
        assert "ValueError: boom" in rest[-1]


def test_another_stderr_than_the_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable inherited from a service does not make a pipe the journal's."""
    for value in ("", "1:2", "nonsense"):
        monkeypatch.setenv("JOURNAL_STREAM", value)
        assert not output.stderr_is_journal(os.environ)
    assert output.people_read_stderr("text")
    assert not output.people_read_stderr("json")


@pytest.mark.parametrize(
    ("began", "levels"),
    [
        ("info", ["debug", "info", "debug"]),
        ("error", ["warning", "info", "debug", "error"]),
        ("debug", ["debug"]),
    ],
)
def test_verbosity(tmp_path: Path, began: str, levels: list[str]) -> None:
    """A step louder each time, from the loudest back to the beginning; each is said."""
    path = written(tmp_path, "json", level=began)
    for expected in levels:
        output.change_verbosity(began)
        assert logging.getLogger().level == getattr(logging, expected.upper())
    said = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["now"] for line in said] == levels
    assert {line["event"] for line in said} == {"verbosity"}


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
    output.configure(level="info", log_format="text", place="stderr")
    logging.getLogger("backlotfs.test").info("here")
    assert "INFO backlotfs.test: here" in capsys.readouterr().err


def test_syslog(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a daemon, with name and process id as syslog wants them."""
    opened: list[tuple[object, ...]] = []

    class Syslog(logging.NullHandler):
        LOG_DAEMON = 3
        ident = ""

        def __init__(self, *args: object) -> None:
            opened.append(args)
            super().__init__()

    monkeypatch.setattr(logging.handlers, "SysLogHandler", Syslog)
    output.configure(level="info", log_format="text", place="syslog")
    assert opened == [("/dev/log", 3)]
    (handler,) = logging.getLogger().handlers
    assert getattr(handler, "ident").startswith("backlotfs[")  # noqa: B009  # not of every handler
    record = logging.LogRecord("n", logging.INFO, "p", 1, "said", (), None)
    assert handler.format(record) == "INFO n: said"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """An OSError, which the caller turns into a sentence."""
    with pytest.raises(IsADirectoryError):
        output.configure(level="info", log_format="text", place=str(tmp_path))


def test_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's log where there is one, else a file named after the mount."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(Path, "exists", lambda self: str(self) == "/dev/log")
    assert output.default_place("main", Path("/mnt/a")) == "syslog"
    monkeypatch.setattr(Path, "exists", lambda _self: False)
    places = [
        output.default_place("main", Path(path))
        for path in ("/mnt/a", "/mnt-a", "/mnt/my films%2d", "/mnt/Köln\\", "/" + 300 * "b")
    ]
    names = [Path(place).name for place in places]
    assert {Path(place).parent for place in places} == {tmp_path / "backlotfs"}
    assert names[:4] == [
        *("main@mnt-a.log", "main@mnt%2da.log", "main@mnt-my%20films%252d.log"),
        "main@mnt-Köln%5c.log",
    ], "a shell takes each as it is"
    assert len(names[4]) < 255
