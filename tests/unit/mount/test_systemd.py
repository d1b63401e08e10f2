# SPDX-License-Identifier: Apache-2.0
"""What a service manager is told."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from backlotfs.kernel.mount_table import MountProbe
from backlotfs.mount import systemd

PLACE = Path("/mnt")


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_reaches_the_manager(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One datagram, over a socket in the file system or in the abstract name space."""
    address = f"@backlotfs-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        manager.settimeout(5)
        systemd.notify("READY=1\nSTATUS=mounted")
        assert manager.recv(100) == b"READY=1\nSTATUS=mounted"


def test_more_time_is_asked_for_as_long_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, again and again, and not a word after the end, however that came."""
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        with contextlib.suppress(KeyError), systemd.more_start_time(every_s=0.01):
            for _ in range(3):
                assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=60000000"
            raise KeyError
        assert not [one for one in threading.enumerate() if one.name == "more-time"]


@pytest.mark.parametrize("address", [None, "", "relative", "/no/such/socket"])
def test_without_a_manager_nothing_happens(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No socket, a malformed one, or one that nobody reads."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "timeout_s"),
    [
        (None, None, None),
        ("60000000", None, 60.0),
        ("1500000", "own", 1.5),
        ("60000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        ("-1", None, None),
        ("²", None, None),
    ],
)
def test_the_watchdogs_timeout(
    usec: str | None, pid: str | None, timeout_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds for this process only: a child inherits the environment but is not watched."""
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, str(os.getpid()) if value == "own" else value)
    assert systemd.watchdog_timeout_s() == timeout_s


@pytest.mark.parametrize(
    ("found", "sent"),
    [
        (MountProbe(5, dead=False), ["WATCHDOG=1"]),
        (MountProbe(None, dead=False), ["WATCHDOG=1"]),  # an error is an answer
        (MountProbe(None, dead=False, silent=True), []),
        # no process for a probe: no reason to kill a mount that may be fine
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), ["WATCHDOG=1"]),
    ],
)
def test_report_alive(
    found: MountProbe | OSError, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of the mount is passed on to systemd, silence is not."""
    notified: list[str] = []
    monkeypatch.setattr(systemd, "notify", notified.append)

    def probe_mount(path: Path, *, timeout_s: float) -> MountProbe:
        assert (path, timeout_s) == (PLACE, 20.0)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(systemd, "probe_mount", probe_mount)
    assert systemd.report_alive(PLACE, 20.0) is bool(sent)
    assert notified == sent


def test_a_silent_mount_is_probed_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause would leave the second probe no time before systemd kills the mount."""
    seen: list[str] = []
    answers = iter([True, False, False, True])

    def report_alive(_mountpoint: Path, timeout_s: float) -> bool:
        seen.append(f"probe {timeout_s:g}")
        return next(answers)  # after the last one the thread ends

    monkeypatch.setattr(systemd, "watchdog_timeout_s", lambda: 60.0)
    monkeypatch.setattr(systemd, "report_alive", report_alive)
    monkeypatch.setattr(time, "sleep", lambda seconds: seen.append(f"pause {seconds:g}"))
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.run)
    with pytest.raises(StopIteration):
        systemd.start_watchdog(PLACE)
    assert seen == ["probe 20", "pause 20", *["probe 20"] * 3, "pause 20", "probe 20"]


@pytest.mark.parametrize("timeout_s", [None, 30.0])
def test_the_watchdog_runs_if_systemd_asks(
    timeout_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs on its own thread."""
    started: list[str] = []
    monkeypatch.setattr(systemd, "watchdog_timeout_s", lambda: timeout_s)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    systemd.start_watchdog(PLACE)
    assert started == ([] if timeout_s is None else ["watchdog"])
