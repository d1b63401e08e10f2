"""The commands of docs/tutorial.md, run as they stand there, and what they print."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.mounting import detach

PAGE = commands.ROOT / "docs" / "tutorial.md"
_SERVER = "backlotfs emulator"
_START_S = 30.0
_COMMAND_S = 60.0


@dataclass(frozen=True, slots=True)
class Entered:
    """One command and its result.

    :ivar output: of both streams; the folder it was run in is ``~``.
    """

    command: str
    code: int
    output: str


def written() -> list[str]:
    """The commands of the page, in their order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    return "".join(blocks).splitlines()


def run_all(folder: Path) -> list[Entered]:
    """All of them in a new folder, the server beside the others; nothing is left mounted.

    :raises AssertionError: the server does not start.
    """
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "backlotfs"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m backlotfs "$@"\n', "utf-8")
    program.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    variables = commands.environment(
        home,
        {
            "LC_ALL": "C.UTF-8",
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(commands.ROOT),
        },
    )
    done = []
    with contextlib.ExitStack() as stack:
        for mountpoint in ("library", "by-label"):
            stack.callback(detach, home / mountpoint)
        for command in written():
            if command.startswith(_SERVER):
                stack.enter_context(_server(command, home, variables))
                continue
            ended = subprocess.run(
                ["bash", "-c", command],
                cwd=home,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_COMMAND_S,
                check=False,
            )
            # the name of the log's file has the path of the mountpoint, escaped
            escaped = str(home).strip("/").replace("-", r"\x2d").replace("/", "-")
            shown = ended.stdout.replace(str(home), "~").replace(escaped, "home-you")
            done.append(Entered(command, ended.returncode, shown))
    return done


@contextlib.contextmanager
def _server(command: str, home: Path, variables: dict[str, str]) -> Iterator[None]:
    """The emulator, from the moment its profile is there."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=home,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(
            lambda: (home / "library.toml").exists() or process.poll() is not None,
            "the emulator's profile",
            timeout_s=_START_S,
        )
        assert process.poll() is None, f"{command!r} ended with {process.returncode}"
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_START_S)
