# SPDX-License-Identifier: Apache-2.0
"""What nobody caught is one redacted record, from whichever thread it came."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
import threading

import pytest

from backlotfs.log import excepthooks
from backlotfs.log.redaction import MARK

URL = "http://h/path?Signature=vjbyPxybdZaNmGa"


def fail() -> None:
    """As a library might."""
    raise OSError(URL)


def assert_told(caplog: pytest.LogCaptureFixture, where: str) -> None:
    """One record that says where, with the traceback and without the signature."""
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.getMessage().startswith(where)
    assert "in fail" in caplog.text
    assert f"http://h/path?{MARK}" in caplog.text
    assert "vjbyPxyb" not in caplog.text


def test_the_body(caplog: pytest.LogCaptureFixture) -> None:
    """It ends the command with 1; nothing of Python's own is printed, nor chained."""
    with pytest.raises(SystemExit) as caught, excepthooks.reported():
        fail()
    assert caught.value.code == 1
    assert caught.value.__suppress_context__
    assert_told(caplog, "the command failed unexpectedly")


def test_what_is_expected_passes(caplog: pytest.LogCaptureFixture) -> None:
    """The caller has words of its own for it."""
    with pytest.raises(OSError, match="path"), excepthooks.reported(KeyError, OSError):
        fail()
    assert not caplog.records


def test_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Named, since a mount has many; one that exits on purpose is no news."""
    with excepthooks.reported():
        for work in (fail, sys.exit):
            thread = threading.Thread(target=work, name="transfer-7")
            thread.start()
            thread.join()
    assert_told(caplog, "thread transfer-7 failed unexpectedly")


def test_a_finaliser(caplog: pytest.LogCaptureFixture) -> None:
    """Without the object's repr, which may be anything."""

    class Fragile:
        def __del__(self) -> None:
            fail()

        def __repr__(self) -> str:
            return URL

    with excepthooks.reported():
        Fragile()
    assert_told(caplog, "")


def test_the_hooks_are_given_back() -> None:
    """Also after a failure; exits pass."""
    before = threading.excepthook, sys.unraisablehook
    with pytest.raises(SystemExit) as caught, excepthooks.reported():
        sys.exit(3)
    assert caught.value.code == 3
    assert (threading.excepthook, sys.unraisablehook) == before


def test_faulthandler_shows_no_value() -> None:
    """A crash in C, with secrets in every frame: functions are named, values are not."""
    program = (
        "import ctypes, faulthandler; faulthandler.enable()\n"
        f"def fetch(url):\n    ctypes.string_at(0)\nfetch({URL!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode < 0
    assert "in fetch" in done.stderr
    assert "vjbyPxyb" not in done.stderr


def test_no_core() -> None:
    """The soft limit is 0 for us and our children; the hard one is not touched."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        excepthooks.keep_no_core()
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
