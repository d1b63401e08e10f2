# SPDX-License-Identifier: Apache-2.0
"""A copy never fails because the API counts its calls: the first day of a mount.

The library has more files than the API's own limit of 300 calls allows in one window. A window
lasts 16 s in place of 60 s.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = [pytest.mark.mounted, pytest.mark.timeout(240)]

WINDOW_S = 16.0
#: Four fifths of the limit are 240 calls a window.
ASSETS = [video(f"clip-{number:03d}.mov", 2000 + number) for number in range(250)]
LIFE_S = 200.0


@pytest.fixture
def emulator(serve: Serve) -> Emulator:
    """The library, in a new window."""
    return serve(*ASSETS, rate_limit=300, rate_window_s=WINDOW_S)


def assert_copied(done: subprocess.CompletedProcess[str], to: Path) -> None:
    """The program has ended with 0 and without a word, and all files are there."""
    assert (done.returncode, done.stderr) == (0, "")
    for asset in ASSETS:
        assert_same_bytes(to / str(asset.original_file_name), asset)


def assert_paced(emulator: Emulator) -> None:
    """No URL was asked for twice, and no call was refused."""
    assert len(ended_requests(emulator, route="streams", status=200)) == len(ASSETS)
    assert ended_requests(emulator, status=429) == []


@pytest.mark.long
def test_a_first_listing_waits_for_its_sizes(emulator: Emulator, tmp_path: Path) -> None:
    """``ls -l`` in a pipe shows every true size, without an error."""
    with Mount(emulator, tmp_path, "--cache-size=0", life_s=LIFE_S) as mount:
        done = subprocess.run(["ls", "-l", mount.path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    sizes = sorted(int(line.split()[4]) for line in done.stdout.splitlines()[1:])
    assert sizes == [2000 + number for number in range(len(ASSETS))]
    assert_paced(emulator)


def test_a_first_copy_gets_everything(emulator: Emulator, tmp_path: Path) -> None:
    """``rsync`` and eight ``cp`` at once take what four fifths of the credits allow."""
    (tmp_path / "second").mkdir()
    began_s = time.monotonic()
    with Mount(emulator, tmp_path, "--cache-size=0", life_s=LIFE_S) as mount:
        names = "\n".join(sorted(os.listdir(mount.path)))
        with subprocess.Popen(
            ["rsync", "-a", f"{mount.path}/", tmp_path / "first"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as rsync:
            copies = subprocess.run(
                ["xargs", "-P8", "-I{}", "cp", f"{mount.path}/{{}}", tmp_path / "second"],
                input=names,
                capture_output=True,
                text=True,
            )
            output, errors = rsync.communicate()
    took_s = time.monotonic() - began_s
    assert_copied(copies, tmp_path / "second")
    assert_copied(
        subprocess.CompletedProcess(rsync.args, rsync.returncode, output, errors),
        tmp_path / "first",
    )
    assert_paced(emulator)
    # Two windows; the rest is for a busy machine.
    assert took_s < 5 * WINDOW_S, "far slower than the credits allow"
