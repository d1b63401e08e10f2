# SPDX-License-Identifier: Apache-2.0
"""Dead mounts of a killed run are cleared; live ones stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import MountIt, Serve
from tests.support.leftovers import clear_dead_mounts, is_anothers, run_id
from tests.support.made_assets import video
from tests.support.mounting import is_mounted

pytestmark = pytest.mark.mounted

CLIP = video("clip.mov")


def test_only_what_is_dead_is_cleared(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """A killed mount is taken away, one that is served is not."""
    emulator = serve(CLIP)
    alive, dead = mounted(emulator), mounted(emulator)
    dead.kill()
    assert is_mounted(dead.path)
    assert clear_dead_mounts(tmp_path) == [dead.path]
    assert not is_mounted(dead.path)
    assert alive.file_of(CLIP).stat().st_size == 1000


@pytest.mark.parametrize(
    ("lock", "expected"),
    [(str(run_id()), False), ("1", True), (str(2**30), False), ("", False), (None, False)],
    ids=["this run", "another that goes on", "one that was killed", "torn", "one that ended"],
)
def test_what_another_run_kills_is_left_to_it(
    tmp_path: Path, lock: str | None, expected: bool
) -> None:
    """pytest notes in each run's folder which process has it."""
    folder = tmp_path / "pytest-of-somebody" / "pytest-7"
    folder.mkdir(parents=True)
    if lock is not None:
        (folder / ".lock").write_text(lock)
    assert is_anothers(folder / "test_it0" / "library") is expected


def test_what_no_run_of_pytest_made_is_left_alone() -> None:
    """A campaign of kills at work beside it, above all."""
    assert is_anothers(Path("/tmp/backlotfs-crash-1/library"))
