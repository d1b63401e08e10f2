# SPDX-License-Identifier: Apache-2.0
"""A real mount of an API that takes seconds for each answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator, Fault
from backlotfs.emulator.http_types import ROUTES
from tests.conftest import Serve
from tests.support.made_assets import video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted


def slow(emulator: Emulator, seconds: float) -> None:
    """Every answer of the API comes so late; sources are as quick as ever."""
    for route in ROUTES - {"source"}:
        emulator.faults.add(Fault.delay(seconds), route=route)


@pytest.mark.long
def test_a_mount_of_a_slow_api(serve: Serve, tmp_path: Path) -> None:
    """4 s for every answer: it mounts, and the size of a file is there within a stat's 5 s."""
    emulator = serve(video("reel.mov", 300_000))
    slow(emulator, 4.0)
    with Mount(emulator, tmp_path) as mount:
        assert os.listdir(mount.path) == ["reel.mov"]
        assert (mount / "reel.mov").stat().st_size == 300_000


@pytest.mark.long
def test_a_limit_that_was_raised(serve: Serve, tmp_path: Path) -> None:
    """Below the time of an answer the mount fails; with a longer `-o api_timeout` it mounts."""
    emulator = serve(video("reel.mov", 300_000))
    slow(emulator, 3.0)
    short = Mount(emulator, tmp_path, "--api-timeout", "1s").launch()
    short.process.wait(40)
    short.expect_exit(4)
    short.expect_log("did not answer in time")
    assert "--api-timeout" in short.log_text()
    short.close()
    with Mount(emulator, tmp_path, "-o", "api_timeout=20s") as mount:
        assert os.listdir(mount.path) == ["reel.mov"]
