"""Output of commands on a terminal, and JSON on standard output.

Texts from the library, servers and other processes can be hostile: an escape sequence in a name
could move the cursor, change the title or type an answer for the user. So every character that is
not printable is written as a readable escape: controls (C0, DEL, C1), marks that change the
direction of writing, invisible characters and lone surrogates. JSON is plain ASCII.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import click


def escape_missing_characters() -> None:
    """Let both output streams escape characters that the locale lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def escaped(text: str) -> str:
    """Escape everything that a terminal would obey: ``\\x1b`` for ESC.

    Line ends stay; use `printable` for foreign text inside a line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text)


def printable(text: str) -> str:
    """Escape foreign text for use inside one line: line ends are escaped as well."""
    return escaped(text).replace("\n", "\\n")


def say(text: str = "", *, err: bool = False) -> None:
    """Write lines to standard output, or to standard error."""
    click.echo(escaped(text), err=err)


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Write one JSON value to standard output, in ASCII, without control characters."""
    click.echo(one_json(value, indent=indent))


def one_json(value: Any, *, indent: int | None = None) -> str:
    """Convert a value to JSON in ASCII, without control characters."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def in_words(count_bytes: float) -> str:
    """Format a number of bytes: ``1.5 GiB``."""
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
