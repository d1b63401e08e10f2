# SPDX-License-Identifier: Apache-2.0
"""The mount that goes to the background once it answers."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import Fault
from tests.conftest import Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.long_runs import few_of
from tests.support.made_assets import MIB, video
from tests.support.mount_log import unexpected
from tests.support.mounting import END_S, START_S, detach, is_mounted

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", MIB + 1)


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; whatever is mounted there is taken away afterwards."""
    path = tmp_path / "library"
    path.mkdir()
    yield path
    for pid in daemons_of(path):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)
    if is_mounted(path):
        detach(path)


def daemons_of(mountpoint: Path) -> list[int]:
    """Processes whose command line ends in this mountpoint."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        if os.fsencode(mountpoint) in words and b"mount" in words:
            found.append(int(process.name))
    return found


def test_it_says_what_part_of_the_library_is_shown(
    serve: Serve, mountpoint: Path, tmp_path: Path
) -> None:
    """Also when it starts from a saved catalog; a rule of an unknown label is named."""
    config = commands.write_config(tmp_path / "config.toml", serve(REEL, video("a.mp4")))
    config.write_text(f'{config.read_text()}options = "include=*.mov"\n')
    words = ("mount", "--config", config, "--profile", commands.PROFILE)
    for options, says in (
        ((), "1 of 2 assets shown"),
        (
            ("--include", "label:Nwes", "--exclude", "*.x"),
            "0 of 2 assets shown; the rule label:Nwes matches nothing: no such label",
        ),
    ):
        done = commands.run(*words, *options, mountpoint, home=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        # before it there is a line on the saved listing, if the API answers late
        assert done.stdout.splitlines()[-1] == says
        assert commands.run("umount", mountpoint, home=tmp_path).returncode == 0


def test_it_returns_once_the_mount_answers(serve: Serve, mountpoint: Path, tmp_path: Path) -> None:
    """Exit code 0, one line that says where the log is, the mount usable at once, log 0600."""
    config = commands.write_config(tmp_path / "config.toml", serve(REEL))
    done = commands.run(
        *("mount", "--config", config, "--profile", commands.PROFILE, mountpoint), home=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_bytes(mountpoint / "reel.mov", REEL)
    escaped = str(mountpoint).strip("/").replace("-", "%2d").replace("/", "-")
    log = tmp_path / ".local/state/backlotfs" / f"test@{escaped}.log"
    place = "the journal (or syslog)" if Path("/dev/log").exists() else str(log)
    assert done.stdout == f"mounted backlot:test on {mountpoint}; its log is in {place}\n"
    if not Path("/dev/log").exists():
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        assert "mounted backlot:test" in log.read_text()
    (daemon,) = daemons_of(mountpoint)
    assert os.getsid(daemon) == daemon
    assert os.readlink(f"/proc/{daemon}/cwd") == "/"
    umount = commands.run("umount", mountpoint, home=tmp_path)
    assert (umount.returncode, umount.stderr) == (0, "")
    wait_until(lambda: not daemons_of(mountpoint), "the daemon's end", timeout_s=END_S)


@pytest.mark.parametrize("held", few_of([False, True], True))
def test_its_own_log_file_and_sigterm(
    serve: Serve, mountpoint: Path, tmp_path: Path, held: bool
) -> None:
    """--log-file gets the whole story, 0600 also under a lax umask; SIGTERM ends it cleanly."""
    config = commands.write_config(tmp_path / "config.toml", serve(REEL))
    log = tmp_path / "own.log"
    done = commands.run(
        *("mount", "--config", config, "--log-file", log, mountpoint), home=tmp_path
    )
    assert done.returncode == 0
    assert done.stdout.endswith(f"its log is in {log}\n")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    (daemon,) = daemons_of(mountpoint)
    descriptor = os.open(mountpoint / "reel.mov" if held else "/dev/null", os.O_RDONLY)
    os.kill(daemon, signal.SIGTERM)
    wait_until(lambda: not daemons_of(mountpoint), "the daemon's end")
    assert not is_mounted(mountpoint)
    try:
        os.close(descriptor)
    except OSError:
        assert held  # the daemon is gone, so closing its file cannot succeed
    text = log.read_text()
    assert "received SIGTERM" in text
    assert unexpected(text, []) == []


def test_a_mount_whose_command_is_ended_does_not_appear_later(
    serve: Serve, mountpoint: Path, tmp_path: Path
) -> None:
    """``timeout --foreground`` and a service manager end the command, and not its process group."""
    emulator = serve(REEL)
    listing = emulator.faults.add(Fault.delay(60), route="assets", skip=1)
    config = commands.write_config(tmp_path / "config.toml", emulator)
    with (tmp_path / "said").open("w") as said:
        mounting = commands.start(
            *("mount", "--config", config, "--log-file", tmp_path / "log", mountpoint),
            home=tmp_path,
            log=said,
        )
        emulator.requests.wait_for(lambda _log: listing.hits > 0)
        mounting.terminate()
        assert mounting.wait(END_S) == 1
    listing.release()
    wait_until(lambda: not daemons_of(mountpoint), "the daemon's end", timeout_s=END_S)
    assert not is_mounted(mountpoint)
    assert "ended before it was ready" in (tmp_path / "said").read_text()


def test_it_stays_in_the_group_of_who_mounts_until_it_answers(
    serve: Serve, mountpoint: Path, tmp_path: Path
) -> None:
    """systemd's automount lets its own process group alone look at what is being mounted.

    A daemon that had left it would wait for the mount that it is about to make.
    """
    emulator = serve(REEL)
    listing = emulator.faults.add(Fault.delay(60), route="assets", skip=1)
    config = commands.write_config(tmp_path / "config.toml", emulator)
    with (tmp_path / "said").open("w") as said:
        mounting = commands.start(
            *("mount", "--config", config, "--log-file", tmp_path / "log", mountpoint),
            home=tmp_path,
            log=said,
        )
        emulator.requests.wait_for(lambda _log: listing.hits > 0)
        assert {os.getpgid(pid) for pid in daemons_of(mountpoint)} == {os.getpgid(mounting.pid)}
        assert len(daemons_of(mountpoint)) == 2
        listing.release()
        assert mounting.wait(START_S) == 0
    (daemon,) = daemons_of(mountpoint)
    assert os.getsid(daemon) == os.getpgid(daemon) == daemon
    assert commands.run("umount", mountpoint, home=tmp_path).returncode == 0
    wait_until(lambda: not daemons_of(mountpoint), "the daemon's end", timeout_s=END_S)
