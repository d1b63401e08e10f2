# SPDX-License-Identifier: Apache-2.0
"""The table in the docstring of ``errors`` is the code's own."""

from __future__ import annotations

import errno
import inspect
import re

import pytest

from backlotfs import errors

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, errors.BacklotError)
]
ROW = re.compile(r"^ *[│├└─ ]*(?P<name>[A-Z]\w+) +(?P<errno>E[A-Z]+)(?: +(?P<exit>\d)\b)?", re.M)
ROWS = {row["name"]: row for row in ROW.finditer(errors.__doc__ or "")}


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_each_error_is_in_the_table(error: type[errors.BacklotError]) -> None:
    """With its own errno, and with its exit code where the table gives one."""
    row = ROWS[error.__name__]
    assert row["errno"] == errno.errorcode[error.errno]
    if row["exit"] is not None:
        assert int(row["exit"]) == error.exit_code


def test_the_table_names_no_other() -> None:
    """A class that was removed leaves the table too."""
    assert set(ROWS) == {error.__name__ for error in CLASSES}


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_an_exit_code_that_is_not_1_is_in_the_table(error: type[errors.BacklotError]) -> None:
    """Scripts rely on these numbers, so the table shows them."""
    if error.exit_code != 1:
        assert ROWS[error.__name__]["exit"] is not None
