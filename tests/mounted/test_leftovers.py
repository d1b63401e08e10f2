"""Dead mounts of a killed run are cleared; live ones stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import MountIt, Serve
from tests.support.leftovers import clear_dead_mounts
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
