# SPDX-License-Identifier: Apache-2.0
"""The demo on a terminal: its output, the programs that it runs, and the signals that end it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import click

BACKLOTFS = (sys.executable, "-m", "backlotfs")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TERMINATE_S = 3.0


def megabytes(size_bytes: int) -> str:
    """``134217728`` → ``134.2 MB``; gigabytes from 10 000 MB on."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 10**10 else f"{size_bytes / 1e6:.1f} MB"


def rate(size_bytes: int, seconds: float) -> str:
    """``134.2 MB in 0.40 s (336 MB/s)``."""
    speed = size_bytes / 1e6 / max(seconds, 1e-6)
    return f"{megabytes(size_bytes)} in {seconds:.2f} s ({speed:.0f} MB/s)"


class Narrator:
    """Writes numbered steps, commands as typed, and results to standard output.

    If the reader of a pipe has ended, the output is discarded, so that the clean-up goes on.
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
        if tuple(shown[: len(BACKLOTFS)]) == BACKLOTFS:
            shown[: len(BACKLOTFS)] = ["backlotfs"]
        self.typed(shlex.join(shown))

    def typed(self, line: str) -> None:
        """Show a line of shell."""
        self._write(click.style(f"   $ {line}", fg="cyan"))

    def say(self, text: str) -> None:
        """Write one or more lines, indented below the step."""
        for line in text.splitlines() or [""]:
            self._write(f"   {line}")

    def complain(self, text: str) -> None:
        """Write a line to standard error."""
        self._write(f"backlotfs demo: {text}", err=True)

    def _write(self, line: str, *, err: bool = False) -> None:
        try:
            click.echo(line, err=err)
            (sys.stderr if err else sys.stdout).flush()
        except OSError:
            # else the interpreter would fail again when it flushes the stream at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2 if err else 1)


class Stopped(BaseException):
    """A signal has come. It is no ``Exception``, so that no ``except Exception`` catches it."""


class Interruption:
    """While entered, the first signal raises `Stopped` in the main thread; later ones do nothing.

    Within `hold`, a signal waits for the end of the block. So the clean-up knows everything that
    the block has acquired. Main thread only.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._raised = False
        self._holds = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for signum in _SIGNALS:
            # under nohup a closed terminal must not end the demo
            if signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN:
                continue
            self._previous[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(self, *_exc: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A block that no signal interrupts.

        :raises Stopped: at its end, when a signal came meanwhile.
        """
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._raise_if_due()

    def hold_for_good(self) -> None:
        """From now on only remember signals, because the clean-up follows."""
        self._holds += 1

    @property
    def exit_code(self) -> int:
        """The exit status of a command that a signal ended, 128 + its number; 0 without one."""
        return 0 if self._signum is None else 128 + self._signum

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        if self._signum is None:
            self._signum = signum
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self._signum is not None and not self._holds and not self._raised:
            self._raised = True
            raise Stopped


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended.

    :ivar status: its exit status; negative for a signal.
    :ivar output: standard output and standard error as they came, decoded.
    """

    status: int
    output: str


def start(command: Sequence[str | Path], output: int) -> subprocess.Popen[bytes]:
    """Start a program without the variables ``BACKLOT_…``, in a session that Ctrl-C does not reach.

    :param output: a file's descriptor, not a pipe's: a daemon could keep a pipe open.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={k: v for k, v in os.environ.items() if not k.startswith("BACKLOT_")},
        start_new_session=True,
    )


def run(
    command: Sequence[str | Path], interruption: Interruption, *, timeout_s: float | None = None
) -> Finished:
    """Run a program to its end.

    :raises FileNotFoundError: when it is not installed.
    :raises TimeoutExpired: it took too long, and has been ended.
    :raises Stopped: on a signal, once the program has been ended too.
    """
    with tempfile.TemporaryFile() as output:
        process = None
        try:
            with interruption.hold():
                process = start(command, output.fileno())
            status = process.wait(timeout_s)
        except BaseException:
            if process is not None:
                _end(process)
            raise
        output.seek(0)
        return Finished(status, output.read().decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a program, then kill it. If it waits for a mount, it ends only at the unmount."""
    for ask in (process.terminate, process.kill):
        ask()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TERMINATE_S)
            return
