"""Sockets of mounts in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlotfs.control import address


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where sockets are in this test; it does not exist yet."""
    found = tmp_path / "run"
    monkeypatch.setattr(address, "_folder", lambda: found)
    return found
