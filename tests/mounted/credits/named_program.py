# SPDX-License-Identifier: Apache-2.0
"""A small program under a name of its own, which lists, stats and opens files of a mount."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.mounting import Mount

#: Its arguments: name, folder, then a word (list, stat, open) and a file name in turn.
_SOURCE = """
import ctypes, json, os, sys, time
PR_SET_NAME = 15
ctypes.CDLL(None).prctl(PR_SET_NAME, sys.argv[1].encode(), 0, 0, 0)
folder, found = sys.argv[2], []
for word, name in zip(sys.argv[3::2], sys.argv[4::2]):
    began, path, code, value = time.monotonic(), os.path.join(folder, name), 0, None
    try:
        if word == "list":
            value = sorted(os.listdir(path))
        elif word == "stat":
            value = os.stat(path).st_size
        else:
            with open(path, "rb") as file:
                value = len(file.read())
    except OSError as error:
        code = error.errno
    found.append((code, value, time.monotonic() - began))
print(json.dumps(found))
"""


class Found(NamedTuple):
    """What one step met.

    :ivar errno: 0: it succeeded.
    :ivar value: names of a ``list``; bytes of a ``stat`` or an ``open``; None after an error.
    :ivar took_s: seconds that it took.
    """

    errno: int
    value: list[str] | int | None
    took_s: float


def started(program: str, mount: Mount, *steps: tuple[str, str | Path]) -> subprocess.Popen[str]:
    """Start it under the name ``program``; each step is a word and a path in the mount."""
    words = [str(word) for step in steps for word in step]
    return subprocess.Popen(
        [sys.executable, "-S", "-c", _SOURCE, program, mount.path, *words],
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], *, timeout_s: float = 60.0) -> list[Found]:
    """What it met, one for each step. :raises subprocess.TimeoutExpired: it does not end."""
    output, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0
    return [Found(*line) for line in json.loads(output)]


def ran(program: str, mount: Mount, *steps: tuple[str, str | Path]) -> list[Found]:
    """Run it to its end."""
    return ended(started(program, mount, *steps))
