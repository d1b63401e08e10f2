# SPDX-License-Identifier: Apache-2.0
"""Nothing but an OSError with a positive errno leaves an operation."""

from __future__ import annotations

import errno
import logging
import sqlite3

import pytest
import requests

from backlotfs import errors
from backlotfs.errors import BacklotError, CircuitOpen, RateLimited, RemoteUnavailable
from backlotfs.kernel.errno_boundary import errno_boundary

SECRET = "http://o.example/a?Signature=vjbyPxybdZaNmGa"


def families() -> list[BacklotError]:
    """One of each class of ours."""
    found: list[BacklotError] = []
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, BacklotError):
            more = {"retry_after_s": 1.0} if issubclass(value, (RateLimited, CircuitOpen)) else {}
            found.append(value("said", **more))
    return found


def raised(error: BaseException) -> OSError:
    """What leaves when this is raised inside."""

    @errno_boundary
    def operation() -> None:
        raise error

    with pytest.raises(OSError) as caught:  # noqa: PT011  # any OSError: looked at by each test
        operation()
    return caught.value


@pytest.mark.parametrize("error", families(), ids=lambda error: type(error).__name__)
def test_ours(error: BacklotError) -> None:
    """Each with the errno of its class."""
    leaving = raised(error)
    assert type(leaving.errno) is int
    assert leaving.errno == error.errno > 0


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (requests.RequestException(SECRET), errno.EIO),  # an OSError whose errno is None
        (requests.ConnectionError(SECRET), errno.EIO),
        (requests.Timeout(SECRET), errno.EIO),
        (OSError(), errno.EIO),
        (OSError(SECRET), errno.EIO),
        (OSError(0, SECRET), errno.EIO),
        (OSError(-1, SECRET), errno.EIO),
        (OSError("5", SECRET), errno.EIO),
        (TimeoutError(SECRET), errno.EIO),
        (OSError(errno.ENOSPC, SECRET), errno.ENOSPC),
        (PermissionError(errno.EACCES, SECRET), errno.EACCES),
        (KeyError(SECRET), errno.EIO),
        (ValueError(SECRET), errno.EIO),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, SECRET), errno.EIO),
        (sqlite3.OperationalError(SECRET), errno.EIO),
        (MemoryError(), errno.EIO),
        (AssertionError(SECRET), errno.EIO),
    ],
)
def test_foreign_errors(error: Exception, number: int, caplog: pytest.LogCaptureFixture) -> None:
    """EIO, or the errno they name; their text, which may hold a signed URL, goes nowhere."""
    with caplog.at_level(logging.INFO):
        leaving = raised(error)
    assert leaving.errno == number
    assert "Signature" not in str(leaving)
    assert "Signature" not in caplog.text
    assert leaving.__suppress_context__


def test_answers_pass_through() -> None:
    """With their arguments, under the operation's own name."""

    @errno_boundary
    def read(path: str, *, size: int) -> str:
        """Read."""
        return path * size

    assert read("ab", size=2) == "abab"
    assert (read.__name__, read.__doc__) == ("read", "Read.")


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (errors.NoSuchEntry("x"), logging.DEBUG),
        (errors.ReadOnlyFilesystem("x"), logging.DEBUG),
        (errors.Interrupted("x"), logging.DEBUG),
        (errors.ContentChanged("x"), logging.WARNING),
        (RemoteUnavailable("x"), logging.WARNING),
        (OSError(errno.ENOENT, "x"), logging.DEBUG),
        (OSError(errno.ENOSPC, "x"), logging.WARNING),
        (KeyError("x"), logging.ERROR),
    ],
)
def test_what_is_worth_a_line(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Everyday answers are no news; trouble is, and a bug is an error."""
    with caplog.at_level(logging.DEBUG):
        raised(error)
    assert max(record.levelno for record in caplog.records) == level


def test_quiet_errors_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """A process that is not waited for says so once per file: that is no warning each."""
    with caplog.at_level(logging.INFO):
        raised(errors.FastFail("x"))
    assert caplog.text == ""
