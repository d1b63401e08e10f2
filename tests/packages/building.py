# SPDX-License-Identifier: Apache-2.0
"""``make dist`` and ``make deb`` of this commit, each in a clone of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.commands import ROOT

_BUILD_S = 1200.0

#: Two people who build the same commit have next to nothing in common.
HERE = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "umask": "077"}
ELSEWHERE = {"TZ": "America/Lima", "LC_ALL": "C.UTF-8", "umask": "002"}


def clone(place: Path) -> Path:
    """A clone of the last commit, with the virtual environment of this checkout."""
    subprocess.run(["git", "clone", "--quiet", ROOT, place], check=True, timeout=60)
    (place / ".venv").symlink_to(ROOT / ".venv")
    return place


def build(script: str, checkout: Path, person: dict[str, str]) -> dict[str, bytes]:
    """What the script of .ci/ puts into dist/, by name.

    :raises AssertionError: it failed; with what it said.
    """
    surroundings = {name: value for name, value in person.items() if name != "umask"}
    done = subprocess.run(
        ["sh", "-c", f"umask {person['umask']} && exec {checkout}/.ci/{script}"],
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_bytes() for path in (checkout / "dist").iterdir()}
