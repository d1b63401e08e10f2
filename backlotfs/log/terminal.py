"""The one way of commands to a terminal, and the one way to JSON on standard output.

Texts of the library, of servers and of other processes are hostile until proven otherwise: a name
with an escape sequence could move the cursor, change the title or answer questions on behalf of
whoever looks. So whatever is not printable is written as an escape that everybody can read:
controls (C0, DEL, C1), marks that change the direction of writing, invisible characters, halves of
characters. JSON is plain ASCII.
"""

from __future__ import annotations

import json
from typing import Any

import click


def escaped(text: str) -> str:
    """One line, or several, with nothing in them that a terminal obeys: ``\\x1b`` for ESC.

    Line ends stay; whoever puts a text of others into a line takes `printable` of it.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text)


def printable(text: str) -> str:
    """Text from outside, fit for one line of a terminal: line ends are escaped as well."""
    return escaped(text).replace("\n", "\\n")


def say(text: str = "", *, err: bool = False) -> None:
    """Write lines to standard output, or to standard error."""
    click.echo(escaped(text), err=err)


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Write one JSON value to standard output, in ASCII, without a control character."""
    click.echo(one_json(value, indent=indent))


def one_json(value: Any, *, indent: int | None = None) -> str:
    """A JSON value in ASCII, without a control character."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def in_words(count_bytes: float) -> str:
    """``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count_bytes < 1024:
            return f"{count_bytes:.{0 if unit == 'B' else 1}f} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.1f} TiB"


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
