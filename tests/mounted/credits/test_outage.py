# SPDX-License-Identifier: Apache-2.0
"""A copy waits through an outage of the API."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from backlotfs.emulator import Fault
from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video

pytestmark = pytest.mark.mounted

ASSETS = [video(f"clip-{number}.mov", 5000 + number) for number in range(6)]
#: Far longer than a stat or an open of other programs bears silence.
DOWN_S = 20.0


@pytest.mark.long
def test_a_copy_waits_through_an_outage(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """The API answers 503 for a while: ``cp -r`` of files whose size is not known ends with 0."""
    emulator = serve(*ASSETS)
    rules = [
        emulator.faults.add(Fault.status(503), route=route)
        for route in ("streams", "source_file_info")
    ]
    mount = mounted(emulator)
    mount.expect_log("503|cannot be|source|refused|not answer")
    with subprocess.Popen(
        ["cp", "-rT", mount.path, tmp_path / "copy"], stderr=subprocess.PIPE, text=True
    ) as copying:
        emulator.requests.wait_for(lambda _log: any(rule.hits for rule in rules))
        time.sleep(DOWN_S)
        assert copying.poll() is None, copying.communicate()
        for rule in rules:
            emulator.faults.remove(rule)
        assert copying.communicate(timeout=90)[1] == ""
    assert copying.returncode == 0
    for asset in ASSETS:
        assert_same_bytes(tmp_path / "copy" / str(asset.original_file_name), asset)
