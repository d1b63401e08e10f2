# SPDX-License-Identifier: Apache-2.0
"""Can this machine mount? If not: which piece is missing."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import sys
from pathlib import Path

#: Set to 1 where mounting is impossible by design: mounted tests are then skipped, not failed.
OPT_OUT = "BACKLOTFS_NO_FUSE"


def missing_piece() -> str | None:
    """What the mounted tests need and this machine lacks; None when nothing.

    libfuse 2 is for the tests of ``--fuse-binding fusepy`` only.
    """
    if not sys.platform.startswith("linux"):
        return f"mounted tests need Linux, this is {sys.platform}"
    if not Path("/dev/fuse").exists():
        return "/dev/fuse is missing (modprobe fuse, or give the container the device)"
    if ctypes.util.find_library("fuse") is None:
        return "libfuse 2 is missing (apt-get install libfuse2, or libfuse2t64)"
    if shutil.which("fusermount") is None and shutil.which("fusermount3") is None:
        return "fusermount is missing (apt-get install fuse3)"
    return None


def skipping_is_allowed() -> bool:
    """Whether whoever runs the tests said that there is no FUSE here."""
    return os.environ.get(OPT_OUT) == "1" or not sys.platform.startswith("linux")
