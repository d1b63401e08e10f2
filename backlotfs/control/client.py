"""Asks a running mount."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from backlotfs.control.address import socket_path
from backlotfs.errors import BacklotError

_TIMEOUT_S = 10.0


class NoAnswer(BacklotError):
    """The mount does not answer on its socket."""


def ask(mountpoint: Path, command: str, **arguments: Any) -> dict[str, Any]:
    """Send one command and return the answer.

    :raises NoAnswer: nobody listens, or the answer is an error; says what to do.
    """
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_TIMEOUT_S)
            line.connect(str(socket_path(mountpoint)))
            line.sendall(request)
            with line.makefile("rb") as reader:
                answer = json.loads(reader.readline())
    except (OSError, ValueError):
        raise NoAnswer(
            f"the mount on {mountpoint} does not answer: was it made by this user, is it alive? "
            f"`backlotfs umount {mountpoint}` clears a dead one"
        ) from None
    if not isinstance(answer, dict):
        raise NoAnswer(f"the mount on {mountpoint} gave no usable answer")
    if "error" in answer:
        raise NoAnswer(str(answer["error"]))
    return answer
