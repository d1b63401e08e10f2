# SPDX-License-Identifier: Apache-2.0
"""The path of a mount's unix socket, and the user at the other end of a connection."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from pathlib import Path


def socket_paths(mountpoint: Path) -> list[Path]:
    """The paths where the socket of this user's mount on ``mountpoint`` (absolute) can be.

    A mount uses the first path that it can; commands try all paths. The name is a hash, because a
    socket path has at most 107 bytes and the path of a mountpoint may be longer.
    """
    digest = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]
    return [folder / f"{digest}.sock" for folder in _folders()]


def _folders() -> tuple[Path, ...]:
    """The folders for all sockets of this user, in the order of preference.

    ``/run/user/UID`` is the second, because it is removed when the user's last login session ends,
    while a mount may run longer. It is used if another user has a file with the name in ``/tmp``.
    """
    uid = os.geteuid()
    if uid == 0:
        return (Path("/run/backlotfs"),)
    return Path(f"/tmp/backlotfs-{uid}"), Path(f"/run/user/{uid}/backlotfs")


_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


def peer_uid(line: socket.socket) -> int:
    """The user id of the process at the other end, as the kernel knows it (``SO_PEERCRED``)."""
    raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])
