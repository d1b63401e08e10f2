# SPDX-License-Identifier: Apache-2.0
"""A mount for the commands that ask one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from backlotfs.kernel.mount_table import FUSE_TYPE, MountEntry
from tests.unit.cli.fake_mount import FakeMount

WARM = import_module("backlotfs.cli.warm")
PIN = import_module("backlotfs.cli.pin")
FILES = import_module("backlotfs.cli.mountpoints")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is taken for a mount, the only one there is."""
    folder = tmp_path / "library"
    folder.mkdir()
    entry = MountEntry(str(folder), FUSE_TYPE, "s", frozenset())
    monkeypatch.setattr(FILES, "our_mounts", lambda: [entry])
    return folder


@pytest.fixture
def mount(place: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMount:
    """The mount there."""
    fake = FakeMount(place)
    for module in (WARM, PIN):
        monkeypatch.setattr(module, "ask", fake.ask)
    return fake
