# SPDX-License-Identifier: Apache-2.0
"""News of the library under a limit of API calls: a long copy does not hide them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.deadlines import wait_until
from tests.support.made_assets import video
from tests.support.mounting import Mount

pytestmark = [pytest.mark.mounted, pytest.mark.timeout(240)]


@pytest.mark.long
def test_an_upload_is_seen_during_a_copy_that_spends_all_credits(
    serve: Serve, tmp_path: Path
) -> None:
    """The copy needs four windows; the upload is listed long before it ends."""
    emulator = serve(
        *(video(f"clip-{number:04d}.mov", 1000) for number in range(1000)),
        rate_limit=300,
        rate_window_s=16.0,
    )
    with Mount(emulator, tmp_path, "--cache-size=0", "--metadata-ttl=1s", life_s=220.0) as mount:
        copying = subprocess.Popen(["rsync", "-a", f"{mount.path}/", tmp_path / "copy"])
        try:
            wait_until(
                lambda: emulator.requests.count(route="streams") >= 200, "the first window's calls"
            )
            emulator.library.add(video("new.mov", 77))
            wait_until(
                lambda: "new.mov" in {path.name for path in mount.path.iterdir()}, "the upload"
            )
            assert copying.poll() is None, "the copy still goes on"
        finally:
            copying.terminate()
            copying.wait()
