# SPDX-License-Identifier: Apache-2.0
"""sd_notify: READY only once the mountpoint answers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.config.time_limits import START_ASK_EVERY_S
from backlotfs.emulator import Fault
from tests.conftest import Serve
from tests.support.made_assets import video
from tests.support.mounting import START_S, Mount, is_mounted

pytestmark = pytest.mark.mounted


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The datagram socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(START_S)
        yield listening


def received(manager: socket.socket, wanted: str) -> list[str]:
    """All lines that came, up to the message that holds ``wanted``."""
    lines: list[str] = []
    while wanted not in lines:
        lines += manager.recv(4096).decode().splitlines()
    return lines


def test_ready_comes_when_the_mountpoint_answers_and_not_before(
    serve: Serve, manager: socket.socket, tmp_path: Path
) -> None:
    """While the library is being listed: a status, no READY. Then READY, and the mount answers."""
    emulator = serve(video("reel.mov"))
    listing = emulator.faults.add(Fault.delay(60), route="assets", skip=1)
    mount = Mount(emulator, tmp_path, extra={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    try:
        mount.launch()
        early = received(manager, "STATUS=listing the library")
        emulator.requests.wait_for(lambda _log: listing.hits > 0)
        assert "READY=1" not in early
        assert not is_mounted(mount.path)
        listing.release()
        late = received(manager, "READY=1")
        assert is_mounted(mount.path)
        assert os.listdir(mount.path) == ["reel.mov"]
        assert late.count("READY=1") == 1
        mount.terminate()
        assert "STOPPING=1" in received(manager, "STOPPING=1")
    finally:
        mount.close()


def test_a_slow_first_listing_is_given_time(
    serve: Serve, manager: socket.socket, tmp_path: Path
) -> None:
    """Page by page, slowly: the manager is asked for time before the first, and told how far it is.

    Then, while a page hangs, it has been granted more than the time in which it is asked again.
    """
    emulator = serve(*[video(f"clip-{number}.mov", 100) for number in range(5)], page_cap=1)
    emulator.faults.add(Fault.delay(0.2), route="assets", skip=1, times=3)
    mount = Mount(emulator, tmp_path, extra={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    try:
        mount.launch()
        lines = received(manager, "READY=1")
        assert os.listdir(mount.path)
    finally:
        mount.close()
    progress = [line for line in lines if line.startswith("STATUS=listing the library: ")]
    counts = ["1 asset", *(f"{number} assets" for number in range(2, 6))]
    assert progress == [f"STATUS=listing the library: {count}" for count in counts]
    extended = [line for line in lines if line.startswith("EXTEND_TIMEOUT_USEC=")]
    assert lines.index(extended[0]) < lines.index(progress[-1])
    assert float(extended[0].partition("=")[2]) / 1e6 > 2 * START_ASK_EVERY_S
    assert lines.index("READY=1") > lines.index(progress[-1])


def test_the_watchdog_hears_as_long_as_the_mount_answers(
    serve: Serve, manager: socket.socket, tmp_path: Path
) -> None:
    """Again and again; not a word while the process is stopped, and again when it goes on."""
    watched = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
    with Mount(serve(video("reel.mov")), tmp_path, extra=watched) as mount:
        mount.expect_log("has not answered")
        received(manager, "READY=1")
        for _ in range(3):
            received(manager, "WATCHDOG=1")
        mount.process.send_signal(signal.SIGSTOP)
        manager.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            received(manager, "never said")  # all that was sent before it stopped
        mount.process.send_signal(signal.SIGCONT)
        manager.settimeout(START_S)
        received(manager, "WATCHDOG=1")


def test_no_ready_when_it_fails(serve: Serve, manager: socket.socket, tmp_path: Path) -> None:
    """A mount that cannot be made ends without READY."""
    emulator = serve(video("reel.mov"))
    emulator.faults.add(Fault.status(401), route="assets")
    mount = Mount(emulator, tmp_path, extra={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    mount.expect_exit(3)
    mount.expect_log("backlotfs: ")
    mount.launch()
    assert mount.process.wait(START_S) == 3
    mount.close()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        received(manager, "READY=1")
