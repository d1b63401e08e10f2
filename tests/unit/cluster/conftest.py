# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a library of an emulator, exports of it, and an object store in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from backlotfs.cluster import exporter, store
from backlotfs.cluster.objects import Objects
from backlotfs.emulator import Emulator
from tests.support.unmounted_library import UnmountedLibrary
from tests.unit.cluster.local_workers import Exports

#: An emulator in, exports of its library out.
Opened = Callable[..., Exports]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits before another attempt."""
    monkeypatch.setattr(exporter, "RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(store, "RETRY_PAUSE_S", 0.0)


@pytest.fixture
def exports() -> Iterator[Opened]:
    """Opens libraries; closes them at the end."""
    with ExitStack() as opened:

        def start(emulator: Emulator, **settings: Any) -> Exports:
            return Exports(opened.enter_context(closing(UnmountedLibrary(emulator, **settings))))

        yield start


@pytest.fixture
def memory() -> Iterator[Objects]:
    """An empty store."""
    MemoryFileSystem.store.clear()
    yield Objects("memory://archive/lib")
    MemoryFileSystem.store.clear()
