# SPDX-License-Identifier: Apache-2.0
"""Mounts started by fork, in an interpreter that has imported the program already.

A start of the program is half a second of processor time, nearly all of it imports, and the tests
start hundreds of mounts. The process has the command line of the fork server. Its environment,
folder, output and signals are its own, and it ends as the program does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["backlotfs.cli.mount", "backlotfs.mount.serve"])


class PreloadedProgram:
    """``backlotfs`` in a forked process, with what tests use of `subprocess.Popen`."""

    def __init__(
        self, arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        """Start it.

        :param arguments: those after the program's name.
        :param log: gets what it writes to both its outputs.
        """
        given = (list(arguments), cwd, dict(environment), log)
        self._process = _CONTEXT.Process(target=_run, args=given, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. :raises subprocess.TimeoutExpired: it did not."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("backlotfs", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _run(arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], log: Path) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    warnings.simplefilter("default")
    sys.argv = ["backlotfs", *arguments]
    from backlotfs.cli import main

    main()
