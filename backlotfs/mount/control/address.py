"""Where the socket of a mount is."""

from __future__ import annotations

import hashlib
import os
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
