# SPDX-License-Identifier: Apache-2.0
"""``cp -r`` after a re-mount: without a call for URLs where they were kept, else at the API's pace.

The first mount learns all sizes without a limit; then the API allows fewer calls in a window than
there are files.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import KeptLibrary
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = [pytest.mark.mounted, pytest.mark.timeout(240)]

#: Four fifths of 300 calls are 240.
LIMIT = {"rate_limit": 300, "rate_window_s": 16.0}
ASSETS = [video(f"clip-{number:03d}.mov", 2000 + number) for number in range(250)]


def copy_of(mount: Mount, to: Path) -> None:
    """Copy all; ``cp`` ends with 0 and without a word, and all files are there."""
    done = subprocess.run(["cp", "-rT", mount.path, to], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for asset in ASSETS:
        assert_same_bytes(to / str(asset.original_file_name), asset)


def calls_for_urls(kept: KeptLibrary) -> int:
    """API calls for URLs since the server was started."""
    requests = kept.emulator.requests
    return requests.count(route="streams") + requests.count(route="source_file_info")


def test_a_copy_with_the_urls_that_were_kept(keep: Keep, tmp_path: Path) -> None:
    """The profile file has the secret in it, so they are kept: no call for one."""
    kept = keep(*ASSETS)
    kept.fill("--cache-size=0")
    before = calls_for_urls(kept)
    assert before == len(ASSETS)
    copy_of(kept.mount("--cache-size=0"), tmp_path / "copy")
    assert calls_for_urls(kept) == before


@pytest.mark.long
def test_a_copy_without_any_url_is_paced(keep: Keep, tmp_path: Path) -> None:
    """All sizes are known, no URL is: ``cp -r`` waits for each, and no file is lost."""
    kept = keep(*ASSETS)
    kept.fill("--cache-size=0")
    kept.restart(**LIMIT)
    copy_of(kept.mount("--cache-size=0", "--forget-urls"), tmp_path / "copy")
    assert calls_for_urls(kept) == len(ASSETS)
    assert ended_requests(kept.emulator, status=429) == []
