# SPDX-License-Identifier: Apache-2.0
"""A long wait for API credits holds up those who wait, and nobody else.

The server refuses all calls for URLs with a 429 that names no time, until the test takes that back:
so the wait is as long as a test needs it, whatever the machine does beside.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from backlotfs.emulator import Emulator, Fault
from tests.conftest import MountIt, Serve
from tests.mounted.catalog.kept_library import ask_for_refresh, status, uploaded
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.programs import find_program

pytestmark = pytest.mark.mounted

ASSETS = [video(f"clip-{number}.mov", 5000 + number) for number in range(6)]
#: "At once", on a machine that does other things too; far below every wait of these tests.
AT_ONCE_S = 15.0

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def emulator(serve: Serve) -> Emulator:
    """The library."""
    return serve(*ASSETS)


@pytest.fixture
def refusing(emulator: Emulator, mounted: MountIt) -> Mount:
    """A mount whose calls for URLs are all refused."""
    refuse(emulator)
    mount = mounted(emulator)
    mount.expect_log("refuses calls")
    return mount


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs; those that still run at the end are killed."""
    with ExitStack() as stack:

        def popen(*command: str | Path, **how: Any) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [str(word) for word in command],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    **how,
                )
            )
            stack.callback(process.kill)
            return process

        yield popen


def refuse(emulator: Emulator) -> None:
    """From now on: no URL for anybody."""
    for route in ("streams", "source_file_info"):
        emulator.faults.add(Fault.status(429, "Too many requests."), route=route)


def give_way(emulator: Emulator) -> None:
    """The refusals are over."""
    emulator.faults.clear()


def waiting_pids(mount: Mount) -> set[int]:
    """Process ids of the programs that wait, as the mount says."""
    return {line["pid"] for line in status(mount)["waiting"]}


def wait_for_waiters(mount: Mount, *processes: subprocess.Popen[str]) -> None:
    """Return once the mount says that these wait."""
    pids = {process.pid for process in processes}
    wait_until(lambda: pids <= waiting_pids(mount), "the programs to wait", every_s=0.1)


def test_others_go_on_during_a_wait(emulator: Emulator, refusing: Mount, start: Start) -> None:
    """A ``touch`` and an ``ls`` in the same folder; then the wait ends well, an upload is there."""
    waiting = start("stat", "-c", "%s", refusing / "clip-0.mov")
    wait_for_waiters(refusing, waiting)
    began_s = time.monotonic()
    touched = subprocess.run(["touch", refusing / "x"], capture_output=True, text=True, timeout=60)
    assert "Read-only file system" in touched.stderr
    listed = subprocess.run(["ls", refusing.path], capture_output=True, text=True, timeout=60)
    assert listed.stdout.split() == sorted(str(asset.original_file_name) for asset in ASSETS)
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        os.open(refusing / "y", os.O_CREAT | os.O_WRONLY)
    assert time.monotonic() - began_s < AT_ONCE_S
    emulator.library.add(uploaded("new.mov", 7000))
    ask_for_refresh(refusing)
    assert waiting.poll() is None
    give_way(emulator)
    # the call for the listing comes after those that applications wait for
    wait_until(lambda: "new.mov" in os.listdir(refusing.path), "the upload", timeout_s=90)
    assert waiting.communicate(timeout=60) == ("5000\n", "")
    assert (refusing / "new.mov").stat().st_size == 7000


def test_a_killed_program_ends_at_once(emulator: Emulator, refusing: Mount, start: Start) -> None:
    """SIGKILL of programs that wait for one file, and for another; the last one gets its size."""
    same = [start("stat", "-c", "%s", refusing / "clip-0.mov") for _ in range(3)]
    other = start("stat", "-c", "%s", refusing / "clip-1.mov")
    wait_for_waiters(refusing, *same, other)
    for process in (same[0], same[1], other):
        began_s = time.monotonic()
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
        assert time.monotonic() - began_s < AT_ONCE_S
    wait_until(lambda: waiting_pids(refusing) == {same[2].pid}, "the killed ones to be gone")
    give_way(emulator)
    assert same[2].communicate(timeout=60) == ("5000\n", "")


@pytest.mark.parametrize(
    "command",
    [["ls", "-l", "{mount}"], ["cp", "-r", "{mount}", "{to}"], ["rsync", "-a", "{mount}/", "{to}"]],
    ids=["ls", "cp", "rsync"],
)
def test_ctrl_c_ends_a_wait(
    refusing: Mount, tmp_path: Path, start: Start, command: list[str]
) -> None:
    """SIGINT, as a terminal sends it to the whole group of processes."""
    if find_program(command[0]) is None:
        pytest.fail(f"this test needs {command[0]}")
    words = [word.format(mount=refusing.path, to=tmp_path / "to") for word in command]
    process = start(*words, start_new_session=True)
    wait_until(lambda: bool(waiting_pids(refusing)), "the program to wait", every_s=0.1)
    began_s = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    assert time.monotonic() - began_s < AT_ONCE_S
    wait_until(lambda: not waiting_pids(refusing), "nobody to wait")


def test_the_end_of_the_mount_ends_all_waits(refusing: Mount, start: Start) -> None:
    """SIGTERM of the mount: whoever waits gets an error at once, and the mount ends cleanly."""
    waiting = [start("stat", refusing.file_of(asset)) for asset in ASSETS]
    waiting.append(start("cat", refusing.file_of(ASSETS[0])))
    wait_for_waiters(refusing, *waiting)
    began_s = time.monotonic()
    assert refusing.terminate() == 0
    for process in waiting:
        assert process.wait(60) != 0
    assert time.monotonic() - began_s < AT_ONCE_S


def test_the_status_says_who_waits(emulator: Emulator, refusing: Mount, start: Start) -> None:
    """The program, its file, what for and how long; one line in the log, however many wait."""
    waiting = [start("stat", refusing.file_of(asset)) for asset in ASSETS]
    wait_for_waiters(refusing, *waiting)
    said = commands.run("status", "--json", refusing.path, home=refusing.folder)
    answer = json.loads(said.stdout)
    assert {
        (line["pid"], line["program"], line["file"], line["for"]) for line in answer["waiting"]
    } == {
        (process.pid, "stat", asset.original_file_name, "size")
        for process, asset in zip(waiting, ASSETS, strict=True)
    }
    assert all(0 <= line["seconds"] <= 3600 for line in answer["waiting"])
    began_s = time.monotonic()
    # Let it be refused a few times more: that makes no further lines.
    emulator.requests.wait_for(lambda log: log.count(route="streams", status=429) >= 3)
    lines = [line for line in refusing.log_text().splitlines() if "API credits" in line]
    lines += [line for line in refusing.log_text().splitlines() if "refuses calls" in line]
    # of each kind one a minute
    assert len(lines) <= 2 + 2 * ((time.monotonic() - began_s) // 60 + 1), lines
    give_way(emulator)
    for process in waiting:
        assert process.wait(60) == 0
    wait_until(lambda: not status(refusing)["waiting"], "nobody to wait")
