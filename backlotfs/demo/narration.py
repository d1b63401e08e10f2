"""What the tour says: numbered steps, the command a user would type, what came of it."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click


def megabytes(size_bytes: int) -> str:
    """``134217728`` → ``134.2 MB``; gigabytes from 10 000 MB on."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 10**10 else f"{size_bytes / 1e6:.1f} MB"


def rate(size_bytes: int, seconds: float) -> str:
    """``134.2 MB in 0.40 s (336 MB/s)``."""
    speed = size_bytes / 1e6 / max(seconds, 1e-6)
    return f"{megabytes(size_bytes)} in {seconds:.2f} s ({speed:.0f} MB/s)"


class Narrator:
    """Writes to standard output. When nobody listens any more it goes quiet: a closed pipe must
    not stop the clean-up.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._started_s = time.monotonic()

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._steps += 1
        elapsed_s = time.monotonic() - self._started_s
        self._write("")
        self._write(click.style(f"{self._steps}. {title}", bold=True) + f"   [{elapsed_s:.1f} s]")

    def command(self, command: Sequence[str | Path]) -> None:
        """Show a command that is about to run, as it would be typed."""
        shown = [str(part) for part in command]
        if shown[:3] == [sys.executable, "-m", "backlotfs"]:
            shown[:3] = ["backlotfs"]
        self.typed(shlex.join(shown))

    def typed(self, line: str) -> None:
        """Show a line of shell."""
        self._write(click.style(f"   $ {line}", fg="cyan"))

    def say(self, text: str) -> None:
        """One or more lines, indented below the step."""
        for line in text.splitlines() or [""]:
            self._write(f"   {line}")

    def complain(self, text: str) -> None:
        """A line on standard error."""
        self._write(f"backlotfs demo: {text}", err=True)

    def _write(self, line: str, *, err: bool = False) -> None:
        try:
            click.echo(line, err=err)
            (sys.stderr if err else sys.stdout).flush()
        except OSError:
            # or the interpreter fails again when it flushes at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2 if err else 1)
