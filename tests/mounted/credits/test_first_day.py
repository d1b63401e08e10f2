"""A copy never fails because the API counts its calls: the first day of a mount, windows scaled.

40 calls in 8 s stand for 300 a minute; 60 files for 450.
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

pytestmark = pytest.mark.mounted

WINDOW_S = 8.0
ASSETS = [video(f"clip-{number:03d}.mov", 20_000 + number) for number in range(60)]


@pytest.fixture
def emulator(serve: Serve) -> Emulator:
    """The library, in a new window."""
    return serve(*ASSETS, rate_limit=40, rate_window_s=WINDOW_S)


def calls_for_urls(emulator: Emulator) -> int:
    """API calls that gave a URL."""
    return emulator.requests.count(route="streams", status=200)


def copied(program: list[str], mount: Mount, to: Path) -> None:
    """Run a copying program; it ends with 0 and without a word, and all files are there."""
    done = subprocess.run([*program, f"{mount.path}/", to], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for asset in ASSETS:
        assert_same_bytes(to / str(asset.original_file_name), asset)


def test_a_first_listing_waits_for_its_sizes(emulator: Emulator, tmp_path: Path) -> None:
    """``ls -l`` in a pipe shows every true size, without an error."""
    with Mount(emulator, tmp_path, "--cache-size=0") as mount:
        done = subprocess.run(["ls", "-l", mount.path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    sizes = sorted(int(line.split()[4]) for line in done.stdout.splitlines()[1:])
    assert sizes == [20_000 + number for number in range(60)]
    assert emulator.requests.count(status=429) == 0


def test_a_first_rsync_copies_everything(emulator: Emulator, tmp_path: Path) -> None:
    """It takes what four fifths of the credits allow, asks for no URL twice, and leaves a fifth."""
    began_s = time.monotonic()
    with Mount(emulator, tmp_path, "--cache-size=0") as mount:
        copied(["rsync", "-a"], mount, tmp_path / "copy")
    took_s = time.monotonic() - began_s
    assert calls_for_urls(emulator) == len(ASSETS)
    assert emulator.requests.count(status=429) == 0
    # 32 calls a window; the greeting, the listing and the like are a handful
    assert WINDOW_S < took_s < 5 * WINDOW_S, "far slower than the credits allow"


def test_a_copy_without_known_urls_is_paced(emulator: Emulator, tmp_path: Path) -> None:
    """All sizes are known, no URL is: ``cp -r`` waits for each, and no file is lost."""
    cache = f"--cache-dir={tmp_path / 'cache'}"
    with Mount(emulator, tmp_path, "--cache-size=0", cache) as mount:
        subprocess.run(["ls", "-l", mount.path], check=True, capture_output=True)
    with Mount(emulator, tmp_path, "--cache-size=0", "--forget-urls", cache) as mount:
        copied(["cp", "-rT"], mount, tmp_path / "copy")
    assert emulator.requests.count(status=429) == 0


def test_eight_copies_at_once(emulator: Emulator, tmp_path: Path) -> None:
    """Several programs wait for credits at the same time; each of them gets all its files."""
    (tmp_path / "copy").mkdir()
    with Mount(emulator, tmp_path, "--cache-size=0") as mount:
        names = "\n".join(sorted(os.listdir(mount.path)))
        done = subprocess.run(
            ["xargs", "-P8", "-I{}", "cp", f"{mount.path}/{{}}", tmp_path / "copy"],
            input=names,
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")
    for asset in ASSETS:
        assert_same_bytes(tmp_path / "copy" / str(asset.original_file_name), asset)
    assert emulator.requests.count(status=429) == 0
