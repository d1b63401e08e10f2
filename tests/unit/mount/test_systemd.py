"""What a service manager is told."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from backlotfs.mount import systemd


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
        with contextlib.suppress(KeyError), systemd.taking_long(every_s=0.01):
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
    ("usec", "pid", "patience_s"),
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
def test_the_watchdogs_patience(
    usec: str | None, pid: str | None, patience_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours alone: a child inherits the environment, but is not what is watched."""
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, str(os.getpid()) if value == "own" else value)
    assert systemd.watchdog_patience_s() == patience_s
