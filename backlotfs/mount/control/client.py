# SPDX-License-Identifier: Apache-2.0
"""Commands ask a running mount over its socket, and check each answer before they use it.

A mount of an older or newer version may answer in another form, and any process of the same user
may listen on the socket. So an answer is used only if it has the shape in `_SHAPES`. Additional
keys are allowed.

A shape is a type (`int`, `float`, `str`, `bool`), `MOMENT`, a list with the shape of its items
(``[shape, ...]``: at least one), a dict with the shapes of its keys (``{str: shape}``: any keys),
or `Maybe` one of these.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backlotfs.errors import CommandFailed
from backlotfs.kernel.mount_table import mount_at, probe_mount
from backlotfs.mount.control.unix_socket import peer_uid, socket_paths
from backlotfs.trusted_paths import UntrustedPath, open_private_folder
from backlotfs.untrusted_numbers import LARGEST

_TIMEOUT_S = 10.0
#: Time limit of the probe of the mountpoint if no process answers on the socket.
_PROBE_S = 5.0
#: Longest answer that is read. It is large because ``pins`` lists every pinned file.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
#: Valid exit codes are smaller.
_CODES = 126
#: The shape of a time in seconds since 1970, until the end of 9998: `datetime` can convert it in
#: every time zone.
MOMENT = object()
_LAST_MOMENT_S = 253_370_764_799


@dataclass(frozen=True, slots=True)
class Maybe:
    """The shape of a value that may also be null."""

    shape: Any


_MOUNT = {"source": str, "mountpoint": str, "pid": int}
_USAGE = {"asked_bytes": int, "reads": int, "failed": int}
_NEXT_FILES = {"fetched_bytes": int, "read_bytes": int, "unread_bytes": int}
_BY_TIER = {**_USAGE, "blocks": {str: int}}
_CACHED = {"cached_bytes": int, "budget_bytes": int}
_PASSTHROUGH = {"off": str, "opens": int, "files": int}
_PINS = {"quota_bytes": int, "needed_bytes": int, "cached_bytes": int}

_SHAPES: dict[str, dict[Any, Any]] = {
    "status": {
        **_MOUNT,
        "since": MOMENT,
        "assets": int,
        "size_bytes": int,
        "choice": Maybe(
            {"include": [str], "exclude": [str], "unknown_labels": [str], "of_assets": int}
        ),
        "exports": [{"pid": int, "files": int, "of_files": int, "bytes": int}],
        "fuse_binding": str,
        "passthrough": _PASSTHROUGH,
        "sizes": {"sized": int, "missing": int, "total": int, "seconds_left": Maybe(float)},
        "synced_at": MOMENT,
        "syncing": bool,
        "stale": bool,
        "last_error": Maybe(str),
        "cache": {
            "memory": _CACHED,
            "disk": Maybe(_CACHED),
            "pinned": Maybe({**_PINS, "files": int}),
        },
        "throughput": {
            "now": {"read_bytes_per_s": float, "fetched_bytes_per_s": float},
            "since_start": {
                "read_bytes": int,
                "fetched_bytes": int,
                "read_bytes_per_s": float,
                "fetched_bytes_per_s": float,
            },
        },
        "credits": {
            "credits_left": Maybe(float),
            "limit": Maybe(float),
            "more_in_s": Maybe(float),
            "share": Maybe(float),
            "share_left": Maybe(int),
            "waiting": [int],
        },
        "reads": _BY_TIER,
        "next_files": _NEXT_FILES,
        "waiting": [{"pid": int, "program": str, "file": str, "for": str, "seconds": float}],
        "url_refreshes": int,
        "errors": [{"at": MOMENT, "file": str, "errno": str, "reason": str, "times": int}],
        "processes": {str: _USAGE},
        "log": str,
    },
    "stats": {
        **_MOUNT,
        "since": MOMENT,
        "passthrough": _PASSTHROUGH,
        "reads": _BY_TIER,
        "processes": {str: _BY_TIER},
        "fetched_bytes": int,
        "amplification": Maybe(float),
        "warmed_bytes": int,
        "unused_bytes": int,
        "next_files": _NEXT_FILES,
        "requests": {"made": int, str: int},
        "hedges": {"made": int, "won": int},
        "url_refreshes": int,
        "memory": {
            "budget_bytes": int,
            "cached_bytes": int,
            "leased_bytes": int,
            "in_flight_bytes": int,
        },
        "disk": Maybe({**_CACHED, "damaged": int, "evicted": int, "rejected": int}),
        "history": [
            {"at": MOMENT, "read_bytes": int, "fetched_bytes": int, "blocks": {str: int}},
            ...,
        ],
    },
    "unpin": {"files": int, "size": int},
    "pins": {**_PINS, "files": [{"id": str, "paths": [str], "size": int, "cached_bytes": int}]},
    "pins brief": _PINS,
    "cached": {
        "id": str,
        "version": str,
        "size": int,
        "cached_bytes": int,
        "pinned": bool,
        "room": int,
        "block": int,
    },
    "warm": {"reached": int, "fetched_bytes": int},
    "preview": {"image": Maybe(str)},
    "transport": {
        "api_url": str,
        "allow_source_hosts": [str],
        "ca_bundle": Maybe(str),
        "proxy": Maybe(str),
        "limited": bool,
    },
    "sources": {
        "files": [
            Maybe(
                {
                    "path": str,
                    "id": str,
                    "size": int,
                    "etag": Maybe(str),
                    "last_modified": Maybe(str),
                    "mtime_s": int,
                    "url": str,
                }
            )
        ]
    },
}


def problem_of(answer: Mapping[str, Any], command: str, *, brief: bool = False) -> str | None:
    """Describe in a few words why an answer cannot be used; None if it can.

    :param brief: whether the request for ``pins`` asked for the totals only.
    """
    if command == "cached" and answer.get("virtual") is True:
        return None  # the mount generates this file, so the other keys are missing
    if command in ("cached", "warm") and "waiting_s" in answer:
        return _problem(answer, {"waiting_s": float}, "it")  # the mount waits for an API credit
    shape = _SHAPES.get(f"{command} brief" if brief else command, {})
    return _problem(answer, shape, "it")


def _problem(value: Any, shape: Any, where: str) -> str | None:
    if isinstance(shape, Maybe):
        return None if value is None else _problem(value, shape.shape, where)
    if isinstance(shape, dict):
        return _problem_of_object(value, shape, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is not a list"
        if not value and len(shape) > 1:
            return f"{where} is empty"
        found = (_problem(one, shape[0], f"an item of {where}") for one in value)
        return next((problem for problem in found if problem is not None), None)
    return None if _fits(value, shape) else f"{where} is not what is expected"


def _problem_of_object(value: Any, shape: Mapping[Any, Any], where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where} is not an object"
    free_shape = shape.get(str)
    for key in shape:
        if key is not str and key not in value:
            return f"{key} is missing"
    for key, inner in value.items():
        expected = shape.get(key, free_shape)
        # Keys that the shape does not name may be names of programs, which are never printed.
        named = key if key in shape else f"an entry of {where}"
        problem = _problem(inner, expected, named) if expected is not None else None
        if problem is not None:
            return problem
    return None


def _fits(value: Any, shape: Any) -> bool:
    if shape is str or shape is bool:
        return isinstance(value, shape)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if shape is int and not isinstance(value, int):
        return False
    if not abs(value) <= LARGEST:  # written so that NaN is refused too
        return False
    return shape is not MOMENT or 0 <= value <= _LAST_MOMENT_S


class NoAnswer(CommandFailed):
    """A mount does not answer on its socket, or answers with an error."""


class AnswerLate(NoAnswer):
    """A mount did not answer in time, because it is busy or hangs."""


def ask(
    mountpoint: Path, command: str, *, timeout_s: float = _TIMEOUT_S, **arguments: Any
) -> dict[str, Any]:
    """Send one command and return the answer.

    The socket is used only in a folder that no other user can enter, and only if the listening
    process runs as the same user or as root.

    :param timeout_s: limit from the call to the end of the answer.
    :raises AnswerLate: the answer was not complete in time.
    :raises NoAnswer: no process listens, or only another user's process; or the answer is an error,
        or has an unknown form.
    """
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    try:
        line = _exchange_with(mountpoint, request, time.monotonic() + timeout_s)
    except UntrustedPath as error:
        raise NoAnswer(f"the mount on {mountpoint} cannot be asked: {error}") from None
    except TimeoutError:
        raise AnswerLate(
            f"the mount on {mountpoint} did not answer in {timeout_s:g} s; it may be busy: try "
            "again, or see its log"
        ) from None
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
        if type(code) is not int or not 0 < code < _CODES:  # `type` because True is an int
            code = 1
        raise NoAnswer(str(answer["error"]), code)
    problem = problem_of(answer, command, brief=bool(arguments.get("brief")))
    if problem is not None:
        raise _unusable(mountpoint, problem)
    return answer


def _exchange_with(mountpoint: Path, request: bytes, until_s: float) -> bytes:
    """Exchange lines over the first socket on which a process answers; empty: no process does.

    :raises UntrustedPath: no process of this user or of root answers, and another user's file or
        process is in the way.
    :raises TimeoutError: the answer is not complete in time.
    """
    in_the_way: UntrustedPath | None = None
    for path in socket_paths(mountpoint):
        try:
            line = _exchange(path, request, until_s)
        except UntrustedPath as error:
            in_the_way = in_the_way or error
        except TimeoutError:
            raise
        except OSError:  # no process listens there
            continue
        else:
            if line:
                return line
    if in_the_way is not None:
        raise in_the_way
    return b""


def _exchange(path: Path, request: bytes, until_s: float) -> bytes:
    """Send the request and return the answer. A line longer than `MAX_ANSWER_BYTES` is cut.

    :param until_s: deadline on the monotonic clock.
    :raises UntrustedPath: the folder or the listening process belongs to another user, or the path
        is not a socket.
    :raises OSError: no process listens, or the answer is not complete in time.
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
        except BlockingIOError:  # the listen queue is full
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
    """The reason why no process answers, found by the mount table and a probe of the mountpoint."""
    found = mount_at(mountpoint)
    if found is None or not found.ours:
        return (
            f"backlotfs is not mounted on {mountpoint}; see what is mounted: "
            "findmnt -t fuse.backlotfs"
        )
    if not found.made_by(os.geteuid()):
        with_sudo = " and sudo" if found.made_by(0) else ""
        owner = "root" if found.made_by(0) else "another user"
        return (
            f"the mount on {mountpoint} belongs to {owner}; only that user can ask it, with "
            f"the same command{with_sudo}"
        )
    if probe_mount(mountpoint, timeout_s=_PROBE_S).dead:
        return f"the mount on {mountpoint} is dead; clear it: backlotfs umount {mountpoint}"
    return (
        f"the mount on {mountpoint} is there, but does not answer commands; try again in a minute, "
        "or see its log; its files can be used all the same"
    )


def _unusable(mountpoint: Path, problem: str) -> NoAnswer:
    return NoAnswer(
        f"the mount on {mountpoint} gave no usable answer ({problem}); it may be of another "
        f"version: mount it again, after: backlotfs umount {mountpoint}"
    )
