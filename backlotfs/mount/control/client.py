"""Asks a running mount."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any

from backlotfs.errors import BacklotError
from backlotfs.mount.control.answers import problem_of
from backlotfs.mount.control.unix_socket import peer_uid, socket_path
from backlotfs.trusted_paths import UntrustedPath, open_private_folder

_TIMEOUT_S = 10.0
#: An answer names every pinned file at most; a longer one is not read on.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
#: Exit codes are below this.
_CODES = 126


class NoAnswer(BacklotError):
    """The mount does not answer on its socket, or answers that it could not do it."""

    def __init__(self, message: str, exit_code: int = BacklotError.exit_code) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # per instance: it is that of the error


class AnswerLate(NoAnswer):
    """The mount did not answer in time: it is busy, or it hangs."""


def ask(
    mountpoint: Path, command: str, *, timeout_s: float = _TIMEOUT_S, **arguments: Any
) -> dict[str, Any]:
    """Send one command and return the answer.

    The socket is used only in a folder of ours that nobody else can enter, and only if who listens
    on it runs as us or as root.

    :param timeout_s: from here to the whole answer.
    :raises AnswerLate: the whole answer did not come in time.
    :raises NoAnswer: nobody listens, another user does, the answer is an error, or it is not what
        this version understands; says what to do.
    """
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    try:
        line = _exchange(socket_path(mountpoint), request, time.monotonic() + timeout_s)
    except UntrustedPath as error:
        raise NoAnswer(f"the mount on {mountpoint} cannot be asked: {error}") from None
    except TimeoutError:
        raise AnswerLate(
            f"no mount of this user answers on {mountpoint} in {timeout_s:g} s; it may be busy: "
            f"try again, or see its log; clear a dead one: backlotfs umount {mountpoint}"
        ) from None
    except OSError:
        raise NoAnswer(_nobody(mountpoint)) from None
    if not line:
        raise NoAnswer(_nobody(mountpoint))
    if len(line) > MAX_ANSWER_BYTES:
        raise _unusable(mountpoint, "it is too long")
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise _unusable(mountpoint, "it is not JSON") from None
    if not isinstance(answer, dict):
        raise _unusable(mountpoint, "it is not an object")
    if "error" in answer:
        code = answer.get("exit_code")
        if type(code) is not int or not 0 < code < _CODES:  # True is no code
            code = 1
        raise NoAnswer(str(answer["error"]), code)
    problem = problem_of(answer, command, brief=bool(arguments.get("brief")))
    if problem is not None:
        raise _unusable(mountpoint, problem)
    return answer


def _exchange(path: Path, request: bytes, until_s: float) -> bytes:
    """Send the request and return the line that comes back; without its end where there is none.

    Of a line that is longer than `MAX_ANSWER_BYTES`, a little more than that.

    :param until_s: on the monotonic clock: all of it ends then.
    :raises UntrustedPath: the folder, the socket or who listens on it is another user's.
    :raises OSError: nobody listens, or the answer is not there in time.
    """
    folder = open_private_folder(path.parent, make=False, tighten=True)
    try:
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISSOCK(found.st_mode):
            raise UntrustedPath(f"{path} is not a socket; remove it: rm {path}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            _connect(line, f"/proc/self/fd/{folder}/{path.name}", until_s)
            uid = peer_uid(line)
            if uid not in (0, os.geteuid()):
                raise UntrustedPath(f"another user (uid {uid}) listens on {path}; remove it")
            line.settimeout(_left(until_s))
            line.sendall(request)
            return _read_line(line, until_s)
    finally:
        os.close(folder)


def _connect(line: socket.socket, address: str, until_s: float) -> None:
    while True:
        line.settimeout(_left(until_s))
        try:
            line.connect(address)
        except BlockingIOError:  # more ask at this moment than may wait
            time.sleep(0.05)
        else:
            return


def _read_line(line: socket.socket, until_s: float) -> bytes:
    answer = bytearray()
    while len(answer) <= MAX_ANSWER_BYTES:
        line.settimeout(_left(until_s))
        piece = line.recv(1024 * 1024)
        answer += piece
        if not piece or piece.endswith(b"\n"):
            break
    return bytes(answer)


def _left(until_s: float) -> float:
    left = until_s - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _nobody(mountpoint: Path) -> str:
    return (
        f"no mount of this user answers on {mountpoint}; see what is mounted: "
        f"findmnt -t fuse.backlotfs, and clear a dead one: backlotfs umount {mountpoint}"
    )


def _unusable(mountpoint: Path, problem: str) -> NoAnswer:
    return NoAnswer(
        f"the mount on {mountpoint} gave no usable answer ({problem}); it may be of another "
        f"version: mount it anew, first: backlotfs umount {mountpoint}"
    )
