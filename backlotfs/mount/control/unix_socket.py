"""The path of a mount's unix socket, and the user at the other end of a connection."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from pathlib import Path


def socket_path(mountpoint: Path) -> Path:
    """The path of the socket for this user's mount on ``mountpoint`` (absolute).

    The name is a hash because a socket path has at most 107 bytes; a mountpoint may have more.
    """
    digest = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]
    return _folder() / f"{digest}.sock"


def _folder() -> Path:
    """The folder of all sockets of this user.

    It does not depend on ``XDG_RUNTIME_DIR``, which a service lacks.
    """
    uid = os.geteuid()
    if uid == 0:
        return Path("/run/backlotfs")
    runtime = Path(f"/run/user/{uid}")
    return runtime / "backlotfs" if runtime.is_dir() else Path(f"/tmp/backlotfs-{uid}")


_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


def peer_uid(line: socket.socket) -> int:
    """The user id of the process at the other end, as the kernel knows it (``SO_PEERCRED``)."""
    raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])
