# SPDX-License-Identifier: Apache-2.0
"""Mounts that are made on one mountpoint at once: one is there in the end, never two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator, Library
from backlotfs.kernel.mount_table import our_mounts
from tests.support import commands
from tests.support.made_assets import video
from tests.support.mounting import detach

pytestmark = pytest.mark.mounted

ROUNDS, AT_ONCE = 4, 4


@pytest.mark.timeout(300)
@pytest.mark.long
def test_mounts_that_are_made_at_once(tmp_path: Path) -> None:
    """Beside a load, in the background and with a saved catalog, which is fastest."""
    place = tmp_path / "library"
    place.mkdir()
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        with Emulator(Library([video("a.mov", 1000)])) as emulator:
            config = commands.write_config(tmp_path / "config.toml", emulator)
            for _ in range(ROUNDS):
                started = [_start(tmp_path, config, place) for _ in range(AT_ONCE)]
                said = [process.communicate(timeout=120)[1] for process in started]
                codes = sorted(process.returncode for process in started)
                here = [entry for entry in our_mounts() if entry.mountpoint == str(place)]
                assert len(here) == 1, said
                assert codes == [0, *[5] * (AT_ONCE - 1)], said
                assert sum("is already mounted" in text for text in said) == AT_ONCE - 1
                assert os.listdir(place) == ["a.mov"]
                status = commands.run("status", place, home=tmp_path)
                assert status.returncode == 0, status.stderr
                while place.is_mount():
                    detach(place)
    finally:
        for process in load:
            process.kill()
            process.wait()
        while place.is_mount():
            detach(place)


def _start(folder: Path, config: Path, place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "backlotfs", "mount", "--config", str(config)]
    return subprocess.Popen(
        [*command, "--cache-size", "0", "--log-file", str(folder / "mount.log"), str(place)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
