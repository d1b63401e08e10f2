# SPDX-License-Identifier: Apache-2.0
"""``backlotfs`` as a user runs it: another process, an environment of its own, a profile file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from backlotfs.emulator import Emulator

ROOT = Path(__file__).resolve().parent.parent.parent
PROFILE = "test"

#: What the developer's own session may have set and no test may depend on.
_FOREIGN = ("BACKLOT_", "XDG_", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "FUSE_LIBRARY_PATH")


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything personal; state and config go below ``home``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, "HOME": str(home), "PYTHONWARNINGS": "default", **(extra or {})}


def command(*arguments: str | os.PathLike[str]) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "backlotfs", *[os.fspath(word) for word in arguments]]


def run(
    *arguments: str | os.PathLike[str],
    home: Path,
    extra: Mapping[str, str] | None = None,
    timeout_s: float = 80.0,
) -> subprocess.CompletedProcess[str]:
    """Run it to its end.

    :raises subprocess.TimeoutExpired: after ``timeout_s``; it is killed then.
    """
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(home, extra),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def start(
    *arguments: str | os.PathLike[str],
    home: Path,
    log: IO[str],
    extra: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start it; both its outputs go to ``log``."""
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=environment(home, extra),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        text=True,
    )


def write_config(
    path: Path,
    emulator: Emulator,
    *,
    api_url: str | None = None,
    api_key: str | None = None,
    api_secret: str | None = None,
) -> Path:
    """A profile file, 0600, for this emulator's account; any part may be another."""
    path.touch(mode=0o600)
    path.write_text(
        f"[profiles.{PROFILE}]\n"
        f'api_url = "{api_url or emulator.api_url}"\n'
        f'api_key = "{api_key or emulator.api_key}"\n'
        f'api_secret = "{api_secret or emulator.api_secret}"\n',
        "utf-8",
    )
    return path
