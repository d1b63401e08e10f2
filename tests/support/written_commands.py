# SPDX-License-Identifier: Apache-2.0
"""The commands that stand in a page of the documentation, and a reader who enters them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import commands
from tests.support.deadlines import wait_until

_START_S = 30.0
_COMMAND_S = 60.0


@dataclass(frozen=True, slots=True)
class Entered:
    """One command and its result.

    :ivar output: of both streams; the home of the reader is ``~``.
    """

    command: str
    code: int
    output: str


def blocks(page: Path) -> list[list[str]]:
    """The lines of each block of commands of a page, in their order."""
    found = re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    return [block.splitlines() for block in found]


class Reader:
    """Enters commands in a home of its own, where ``backlotfs`` is the one under test."""

    def __init__(self, folder: Path) -> None:
        """Make ``folder``/bin and ``folder``/home."""
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "backlotfs"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m backlotfs "$@"\n', "utf-8")
        program.chmod(0o755)
        self.home = folder / "home"
        self.home.mkdir()
        self._variables = commands.environment(
            self.home,
            {
                "LC_ALL": "C.UTF-8",
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PYTHONPATH": str(commands.ROOT),
            },
        )

    def enter(self, command: str) -> Entered:
        """Run a command to its end, with nothing to read on its standard input."""
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=self.home,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        return Entered(command, ended.returncode, self._shown(ended.stdout))

    def answer(self, command: str, answers: Sequence[str]) -> Entered:
        """Run a command on a terminal, and type one answer at each question that it asks."""
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.home,
            env=self._variables,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        watchdog = threading.Timer(_COMMAND_S, process.kill)
        watchdog.start()
        try:
            output, left = "", list(answers)
            with contextlib.suppress(OSError):  # EIO: the command has ended
                while piece := os.read(ours, 65_536):
                    output += piece.decode("utf-8", "replace")
                    if left and output.endswith(": "):
                        os.write(ours, f"{left.pop(0)}\n".encode())
            code = process.wait(_COMMAND_S)
        finally:
            watchdog.cancel()
            os.close(ours)
        return Entered(command, code, self._shown(output.replace("\r", "")))

    @contextlib.contextmanager
    def server(self, command: str, profile: Path) -> Iterator[None]:
        """A command that serves until the end of the block, from the moment its profile is there.

        :raises AssertionError: it does not start.
        """
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.home,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(
                lambda: profile.exists() or process.poll() is not None,
                "the emulator's profile",
                timeout_s=_START_S,
            )
            assert process.poll() is None, f"{command!r} ended with {process.returncode}"
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_START_S)

    def _shown(self, output: str) -> str:
        # the name of the log's file has the path of the mountpoint, escaped
        escaped = str(self.home).strip("/").replace("-", "%2d").replace("/", "-")
        return output.replace(str(self.home), "~").replace(escaped, "home-you")


def _take_terminal() -> None:
    """Make the standard input the terminal of this session, on which a secret is asked for."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
