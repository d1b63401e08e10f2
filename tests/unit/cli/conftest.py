"""A mount for the commands that ask one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from backlotfs.kernel.mount_table import FUSE_TYPE, MountEntry
from tests.unit.cli.fake_mount import FakeMount

RUN = import_module("backlotfs.cli.warm_run")
PIN = import_module("backlotfs.cli.pin")
FILES = import_module("backlotfs.cli.mounted_files")


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMount:
    """The only mount there is."""
    place = tmp_path / "library"
    place.mkdir()
    fake = FakeMount(place)
    monkeypatch.setattr(
        FILES, "our_mounts", lambda: [MountEntry(str(place), FUSE_TYPE, "s", frozenset())]
    )
    for module in (RUN, PIN):
        monkeypatch.setattr(module, "ask", fake.ask)
    return fake
