# SPDX-License-Identifier: Apache-2.0
"""``mount --wait=sizes`` returns when all is known; ``ls`` prints the names that the mount has."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import Fault
from tests.conftest import Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.long_runs import few_of
from tests.support.made_assets import video
from tests.support.mounting import END_S, detach, is_mounted

pytestmark = pytest.mark.mounted

#: Five that were uploaded under one name, and others beside.
ASSETS = [
    *(video("clip.mov", 1000 + n, tag=str(n), created_at=1_700_000_000 + n) for n in range(5)),
    *(video(f"other-{n}.mov", 2000 + n) for n in range(5)),
]


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; what is mounted there is unmounted afterwards."""
    path = tmp_path / "library"
    path.mkdir()
    yield path
    if is_mounted(path):
        try:
            commands.run("umount", path, home=tmp_path)
            wait_until(lambda: not is_mounted(path), "the end of the mount", timeout_s=END_S)
        finally:
            detach(path)


@pytest.mark.parametrize("names", few_of(["original", "always-id", "portable"], "original"))
def test_a_mount_in_the_background_waits_for_its_sizes(
    serve: Serve, mountpoint: Path, tmp_path: Path, names: str
) -> None:
    """All sizes are known when it returns; ``ls`` prints its names, before and after."""
    emulator = serve(*ASSETS)
    account = ("--config", commands.write_config(tmp_path / "config.toml", emulator))
    cache = ("--cache-dir", tmp_path / "cache", "--names", names)
    before = commands.run("ls", *account, *cache, home=tmp_path)
    assert (before.returncode, before.stderr) == (0, "")
    done = commands.run("mount", "--wait=sizes", *account, *cache, mountpoint, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    calls = len(emulator.requests.entries(route="streams"))
    assert calls == len(ASSETS)
    shown = {name: (mountpoint / name).stat().st_size for name in os.listdir(mountpoint)}
    assert sorted(shown.values()) == [*range(1000, 1005), *range(2000, 2005)]
    assert len(emulator.requests.entries(route="streams")) == calls
    after = commands.run("ls", *account, *cache, home=tmp_path)
    assert (after.returncode, after.stderr) == (0, "")
    assert before.stdout == after.stdout
    lines = after.stdout.splitlines()
    assert [name for name in shown if not any(line.endswith(name) for line in lines)] == []


@pytest.mark.parametrize("wait", few_of(["--wait", "--wait=sizes"], "--wait=sizes"))
def test_a_saved_listing_is_brought_up_to_date(
    serve: Serve, mountpoint: Path, tmp_path: Path, wait: str
) -> None:
    """A later mount answers from its catalog at once; what was uploaded since is waited for."""
    emulator = serve(*ASSETS)
    config = commands.write_config(tmp_path / "config.toml", emulator)
    words = ("mount", wait, "--config", config, "--cache-dir", tmp_path / "cache", mountpoint)
    assert commands.run(*words, home=tmp_path).returncode == 0
    assert commands.run("umount", mountpoint, home=tmp_path).returncode == 0
    emulator.library.add(video("new.mov", 99, created_at=int(time.time())))
    done = commands.run(*words, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "new.mov" in os.listdir(mountpoint)
    if wait == "--wait=sizes":
        assert done.stdout.splitlines()[-1] == "11 of 11 sizes known"


@pytest.mark.long
def test_a_listing_that_is_not_up_to_date_is_said(
    serve: Serve, mountpoint: Path, tmp_path: Path
) -> None:
    """The API is down: the mount of a known library stays, and nobody is told that it is fresh."""
    emulator = serve(*ASSETS)
    config = commands.write_config(tmp_path / "config.toml", emulator)
    words = ("mount", "--wait", "--config", config, "--cache-dir", tmp_path / "cache", mountpoint)
    assert commands.run(*words, home=tmp_path).returncode == 0
    assert commands.run("umount", mountpoint, home=tmp_path).returncode == 0
    emulator.faults.add(Fault.of("status", status=503), route="assets")
    done = commands.run(*words, home=tmp_path)
    assert done.returncode == 0
    assert "the listing is not up to date" in done.stderr
    assert len(os.listdir(mountpoint)) == len(ASSETS)


def test_a_mount_says_how_long_its_sizes_take(
    serve: Serve, mountpoint: Path, tmp_path: Path
) -> None:
    """Without --wait it returns at once, with a second line that says what is to come."""
    # fewer calls in an hour than there are files
    emulator = serve(
        *(video(f"clip-{n:02}.mov", 1000 + n) for n in range(60)),
        rate_limit=40,
        rate_window_s=3600.0,
    )
    config = commands.write_config(tmp_path / "config.toml", emulator)
    done = commands.run("mount", "--config", config, mountpoint, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith("mounted backlot:")
    found = re.search(r"the sizes of (\d+) files .* takes about (\d) h", second)
    assert found is not None, second
    assert 50 <= int(found[1]) <= 60
    assert 1 <= int(found[2]) <= 2
    assert "Copies may start now" in second


def test_ctrl_c_ends_the_wait_and_not_the_mount(
    serve: Serve, mountpoint: Path, tmp_path: Path
) -> None:
    """It says so."""
    emulator = serve(*ASSETS)
    emulator.faults.add(Fault.delay(60.0), route="streams")
    config = commands.write_config(tmp_path / "config.toml", emulator)
    words = ("mount", "--wait=sizes", "--config", config, "--cache-dir", tmp_path / "cache")
    log = tmp_path / "said.txt"
    with log.open("w") as said:
        mounting = commands.start(*words, mountpoint, home=tmp_path, log=said)
    wait_until(lambda: "mounted backlot:" in log.read_text(), "the mount", timeout_s=END_S)
    mounting.send_signal(signal.SIGINT)
    assert mounting.wait(END_S) == 130
    assert f"backlotfs: stopped waiting; {mountpoint} stays mounted\n" in log.read_text()
    assert len(os.listdir(mountpoint)) == len(ASSETS)
