# SPDX-License-Identifier: Apache-2.0
"""Whatever a library holds, a terminal obeys none of it."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.log.terminal import about, counted, escaped, printable, say, say_json

HOSTILE = "a\x1b[2Jb\x9b31m\x7f\x00\u202eevil\u200b\u2028\ud800\r"


def shown(write: object) -> Result:
    """What a command prints."""

    @click.command()
    def command() -> None:
        assert callable(write)
        write()

    return CliRunner().invoke(command)


@given(st.text())
def test_nothing_but_line_ends_is_left_unprintable(text: str) -> None:
    """Controls, marks of direction, invisible characters, halves of characters."""
    assert all(c.isprintable() or c == "\n" for c in escaped(text))
    assert printable(text).isprintable()
    escaped(text).encode()  # raises for half a character


def test_what_is_counted() -> None:
    """One is not several, and none is."""
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert counted(3, "library", "libraries") == "3 libraries"


def test_plain_texts_stay() -> None:
    """Other scripts too."""
    assert escaped("Ünïcode 日本語 x\ny") == "Ünïcode 日本語 x\ny"
    assert printable("a\nb") == "a\\nb"


@pytest.mark.parametrize("err", [False, True])
def test_a_line(err: bool) -> None:
    """Escapes that a person can read."""
    said = shown(lambda: say(HOSTILE, err=err)).output
    assert said == "a\\x1b[2Jb\\x9b31m\\x7f\\x00\\u202eevil\\u200b\\u2028\\ud800\\x0d\n"


def test_json() -> None:
    """ASCII, with no control character, and the same value when it is read."""
    said = shown(lambda: say_json({"name": HOSTILE})).output
    assert said.isascii()
    assert all(" " <= c < "\x7f" for c in said.rstrip("\n"))
    assert json.loads(said) == {"name": HOSTILE}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1 s"), (0.4, "1 s"), (1.0, "1 s"), (29.4, "29 s"), (41.0, "41 s"),
        (59.4, "59 s"), (59.5, "1 min"), (60.0, "1 min"), (89.0, "1 min"), (91.0, "2 min"),
        (180.0, "3 min"), (3570.0, "1 h 0 min"), (7500.0, "2 h 5 min"),
        (100 * 3600.0, "100 h 0 min"),
    ],
)  # fmt: skip
def test_durations_for_people(seconds: float, text: str) -> None:
    """In the units that somebody would say it in."""
    assert about(seconds) == text
