# SPDX-License-Identifier: Apache-2.0
"""Output of commands on a terminal, and JSON on standard output.

Texts from the library, servers and other processes can be hostile: an escape sequence in a name
could move the cursor, change the title or type an answer for the user. So every character that is
not printable is written as a readable escape: controls (C0, DEL, C1), marks that change the
direction of writing, invisible characters and lone surrogates. JSON is plain ASCII.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

import click

from backlotfs.errors import CommandFailed


def prepare_streams() -> None:
    """Make the standard streams safe to use; call it before a command runs.

    A closed stream (``2>&-``) becomes ``/dev/null``. Characters that are not in the locale's
    encoding are escaped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            stream = open(nowhere, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  # for good
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def escaped(text: str) -> str:
    """Escape all characters that a terminal may interpret: ``\\x1b`` for ESC.

    Line ends are kept; use `printable` for untrusted text inside a line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text)


def printable(text: str) -> str:
    """Escape untrusted text for use inside one line: line ends are escaped as well."""
    return escaped(text).replace("\n", "\\n")


def say(text: str = "", *, err: bool = False) -> None:
    """Escape lines, and write them to standard output or to standard error."""
    write(escaped(text), err=err)


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Write one JSON value to standard output, in ASCII, without control characters."""
    write(one_json(value, indent=indent))


def write(text: str, *, err: bool = False) -> None:
    """Write lines that need no escapes to standard output or to standard error.

    :raises CommandFailed: standard output cannot be written: for example, its disk is full.
    """
    try:
        click.echo(text, err=err)
    except BrokenPipeError:  # the reader has ended: click ends the command
        raise
    except OSError as error:
        if err:
            return  # no stream is left for an error message
        # The rest of the buffer could not be written at exit either.
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise CommandFailed(
            f"the output cannot be written: {error.strerror}; write it to another place"
        ) from None


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


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and what it counts: ``1 file``, ``2 files``."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def about(seconds: float) -> str:
    """Format a duration in one or two units: ``40 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
