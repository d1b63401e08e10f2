# SPDX-License-Identifier: Apache-2.0
"""Programs of the system that tests run beside a mount."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

#: Where Debian keeps servers; not on an ordinary user's path.
_SERVER_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def find_program(name: str) -> str | None:
    """Its path, also where only root looks; None when it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SERVER_FOLDERS}")


def run_program(
    name: str,
    *arguments: str | Path,
    timeout_s: float = 60.0,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> str:
    """Run a program that has to be there and to succeed; what it printed.

    :param user: to run it as; only root can.
    :raises AssertionError: with what it wrote to stderr.
    :raises subprocess.TimeoutExpired: after ``timeout_s``; it is killed then.
    """
    program = find_program(name)
    assert program is not None, f"this test needs {name}"
    done = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout_s,
        cwd=cwd,
        env=environment,
        user=user,
        check=False,
    )
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
