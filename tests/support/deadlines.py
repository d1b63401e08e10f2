# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable

_POLL_S = 0.01


def wait_until(
    condition: Callable[[], bool], what: str, *, timeout_s: float = 60.0, every_s: float = _POLL_S
) -> None:
    """Return once ``condition()`` holds.

    :param what: for the message: "the mount to answer".
    :param every_s: between two looks: more, where a look is dear or compares with the last.
    :raises AssertionError: when it does not come to hold in time.
    """
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(every_s)
