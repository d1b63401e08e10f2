"""The unix socket of a mount: where it is, and who is at its other end."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from pathlib import Path


def socket_path(mountpoint: Path) -> Path:
    """The socket of whoever mounts on ``mountpoint`` (absolute), if this user does.

    The name is a hash: socket paths may have 107 bytes, mountpoints more.
    """
    digest = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]
    return _folder() / f"{digest}.sock"


def _folder() -> Path:
    """The same in every session of a user: a service's environment lacks ``XDG_RUNTIME_DIR``."""
    uid = os.geteuid()
    if uid == 0:
        return Path("/run/backlotfs")
    runtime = Path(f"/run/user/{uid}")
    return runtime / "backlotfs" if runtime.is_dir() else Path(f"/tmp/backlotfs-{uid}")


_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


def peer_uid(line: socket.socket) -> int:
    """The user who made the other end (``SO_PEERCRED``): no process can claim another."""
    raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])
