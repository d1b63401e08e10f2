# SPDX-License-Identifier: Apache-2.0
"""Locks an open file or folder by flock(2), with a time limit."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable

_POLL_S = 0.02


def lock_within(file: int, wait_s: float, blocked: Callable[[], None] = lambda: None) -> bool:
    """Lock an open file or folder; False if another program holds the lock for this long.

    :param blocked: called between two attempts; what it raises ends the wait.
    :raises OSError: the file system has no such locks.
    """
    until_s = time.monotonic() + wait_s
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        blocked()
        if time.monotonic() > until_s:
            return False
        time.sleep(_POLL_S)
