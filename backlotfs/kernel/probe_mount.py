"""Looking at a mount from outside: through a child process, never by a system call of our own.

A thread that waits in the kernel for an answer from its own process cannot be killed: if the
process dies meanwhile, nobody is left to answer, and the mount hangs for ever. A child that asks
dies with the connection.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

#: What `stat` says of a mount whose daemon is gone.
_DEAD = "Transport endpoint is not connected"

_SHELL = "/bin/sh"
#: `-f` is never answered from the kernel's memory, as plain stat may be for a dead mount.
_SCRIPT = ("-c", 'stat -f -- "$1" >/dev/null && stat -c %d -- "$1"', "look")


class Look(NamedTuple):
    """What a look at a path brought.

    :ivar device: ``st_dev``, or None without an answer.
    :ivar dead: the daemon behind the mount is gone.
    :ivar silent: there was no answer in time.
    """

    device: int | None
    dead: bool
    silent: bool = False


def look(path: Path, *, timeout_s: float = 5.0) -> Look:
    """Look at ``path``; without an answer in time neither device nor verdict."""
    child = subprocess.Popen(
        [_SHELL, *_SCRIPT, os.fspath(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    try:
        answer, complaint = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        # Waited for aside: in a mount that hangs, it ends when that ends.
        threading.Thread(target=child.wait, name="look", daemon=True).start()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
        return Look(None, dead=False, silent=True)
    text = answer.strip()
    return Look(int(text) if text.isdigit() else None, dead=_DEAD.encode() in complaint)
