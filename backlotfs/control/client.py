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
    """The mount does not answer on its socket, or answers that it could not do it."""

    def __init__(self, message: str, exit_code: int = BacklotError.exit_code) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # per instance: it is that of the error


def ask(
    mountpoint: Path, command: str, *, timeout_s: float = _TIMEOUT_S, **arguments: Any
) -> dict[str, Any]:
    """Send one command and return the answer.

    :param timeout_s: the answer may take so long.
    :raises NoAnswer: nobody listens, or the answer is an error; says what to do.
    """
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(timeout_s)
            line.connect(str(socket_path(mountpoint)))
            line.sendall(request)
            with line.makefile("rb") as reader:
                answer = json.loads(reader.readline())
    except TimeoutError:
        raise NoAnswer(
            f"the mount on {mountpoint} did not answer in {timeout_s:g} s; it may be busy: "
            "try again, or see its log"
        ) from None
    except (OSError, ValueError):
        raise NoAnswer(
            f"no mount of this user answers on {mountpoint}; see what is mounted: "
            f"findmnt -t fuse.backlotfs, and clear a dead one: backlotfs umount {mountpoint}"
        ) from None
    if not isinstance(answer, dict):
        raise NoAnswer(f"the mount on {mountpoint} gave no usable answer")
    if "error" in answer:
        code = answer.get("exit_code")
        raise NoAnswer(str(answer["error"]), code if isinstance(code, int) else 1)
    return answer
