"""A look at a path through a child process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from backlotfs.kernel import probe_mount
from backlotfs.kernel.probe_mount import Look, look


def test_a_path_that_answers(tmp_path: Path) -> None:
    """Its device, as `os.stat` says; odd names are names."""
    odd = tmp_path / "-f a'b $(x)"
    odd.mkdir()
    assert look(odd) == Look(os.stat(odd).st_dev, dead=False)


def test_a_path_that_is_missing(tmp_path: Path) -> None:
    """Neither an answer nor a dead mount."""
    assert look(tmp_path / "absent") == Look(None, dead=False)


def test_a_path_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given up in time, without waiting for the child."""
    monkeypatch.setattr(probe_mount, "_SCRIPT", ("-c", "exec sleep 30", "look"))
    start = time.monotonic()
    assert look(tmp_path, timeout_s=0.2) == Look(None, dead=False, silent=True)
    assert time.monotonic() - start < 10
