"""A copy never fails because the API counts its calls: the first day of a mount, windows scaled.

40 calls in 6 s stand for 300 a minute; 50 files are more than one window allows.
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

# More calls than the 32 probes that may run when the limit is not known yet.
WINDOW = {"rate_limit": 40, "rate_window_s": 6.0}
ASSETS = [video(f"clip-{number:03d}.mov", 20_000 + number) for number in range(50)]
LIFE_S = 200.0


@pytest.fixture
def emulator(serve: Serve) -> Emulator:
    """The library, in a new window."""
    return serve(*ASSETS, **WINDOW)


def calls_for_urls(emulator: Emulator) -> int:
    """API calls that gave a URL."""
    return len(ended_requests(emulator, route="streams", status=200))


def copied(program: list[str], mount: Mount, to: Path) -> None:
    """Run a copying program; it ends with 0 and without a word, and all files are there."""
    done = subprocess.run([*program, f"{mount.path}/", to], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for asset in ASSETS:
        assert_same_bytes(to / str(asset.original_file_name), asset)


def test_a_first_listing_waits_for_its_sizes(emulator: Emulator, tmp_path: Path) -> None:
    """``ls -l`` in a pipe shows every true size, without an error."""
    with Mount(emulator, tmp_path, "--cache-size=0", life_s=LIFE_S) as mount:
        done = subprocess.run(["ls", "-l", mount.path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    sizes = sorted(int(line.split()[4]) for line in done.stdout.splitlines()[1:])
    assert sizes == [20_000 + number for number in range(len(ASSETS))]
    assert ended_requests(emulator, status=429) == []


def test_a_first_rsync_copies_everything(emulator: Emulator, tmp_path: Path) -> None:
    """It takes what four fifths of the credits allow, asks for no URL twice, and leaves a fifth."""
    began_s = time.monotonic()
    with Mount(emulator, tmp_path, "--cache-size=0", life_s=LIFE_S) as mount:
        copied(["rsync", "-a"], mount, tmp_path / "copy")
    took_s = time.monotonic() - began_s
    assert calls_for_urls(emulator) == len(ASSETS)
    assert ended_requests(emulator, status=429) == []
    # 32 calls a window, so two or three windows; the rest is for the start of a busy machine
    assert took_s < 8 * WINDOW["rate_window_s"], "far slower than the credits allow"


def test_a_copy_after_a_remount(emulator: Emulator, tmp_path: Path) -> None:
    """With the URLs that the first mount kept: no call for one. Without them: paced, and whole."""
    options = ("--cache-size=0", f"--cache-dir={tmp_path / 'cache'}")
    with Mount(emulator, tmp_path, *options, life_s=LIFE_S) as mount:
        subprocess.run(["ls", "-l", mount.path], check=True, capture_output=True)
    assert calls_for_urls(emulator) == len(ASSETS)
    with Mount(emulator, tmp_path, *options, life_s=LIFE_S) as mount:
        copied(["cp", "-rT"], mount, tmp_path / "copy")
    assert calls_for_urls(emulator) == len(ASSETS)
    with Mount(emulator, tmp_path, *options, "--forget-urls", life_s=LIFE_S) as mount:
        copied(["cp", "-rT"], mount, tmp_path / "second copy")
    assert calls_for_urls(emulator) == 2 * len(ASSETS)
    assert ended_requests(emulator, status=429) == []


def test_eight_copies_at_once(emulator: Emulator, tmp_path: Path) -> None:
    """Several programs wait for credits at the same time; each of them gets all its files."""
    (tmp_path / "copy").mkdir()
    with Mount(emulator, tmp_path, "--cache-size=0", life_s=LIFE_S) as mount:
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
    assert ended_requests(emulator, status=429) == []
