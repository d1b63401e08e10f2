# SPDX-License-Identifier: Apache-2.0
"""What may stand where a file or folder of a copy is to be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

_SPECIAL = {"pipe": stat.S_IFIFO, "socket": stat.S_IFSOCK, "device": stat.S_IFCHR}


def make_entry(path: Path, kind: str, *, target: Path | str = "nowhere") -> None:
    """Make an entry: a ``file``, ``folder``, ``link`` to ``target``, ``pipe``, ``socket``, …

    A ``device`` is /dev/null; only root makes it, so the test is skipped for others.
    """
    if kind == "file":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(target)
    elif kind == "device" and os.geteuid() != 0:
        pytest.skip("only root makes devices")
    else:
        os.mknod(path, _SPECIAL[kind] | 0o600, os.makedev(1, 3))
