# SPDX-License-Identifier: Apache-2.0
"""Mounts one after the other over the same disk tier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from backlotfs.emulator import Emulator
from tests.support.mounting import Mount

#: Ends the mount there is, and makes the next.
Remount = Callable[[], Mount]


@contextmanager
def remounts(
    emulator: Emulator, folders: pytest.TempPathFactory, *options: str
) -> Iterator[Remount]:
    """Each in a folder of its own, with these ``options``; at the end the last one ends too."""
    cache = folders.mktemp("cache")
    running: list[Mount] = []

    def close() -> None:
        while running:
            running.pop().close()

    def start() -> Mount:
        close()
        folder = folders.mktemp("remounted")
        running.append(Mount(emulator, folder, *options, "--cache-dir", str(cache)).start())
        return running[0]

    try:
        yield start
    finally:
        close()
