# SPDX-License-Identifier: Apache-2.0
"""The private line between a mount and the commands that ask it."""

from __future__ import annotations

import json
import logging
import os
import socket
import socketserver
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backlotfs.errors import RemoteUnavailable
from backlotfs.mount.control import unix_socket
from backlotfs.mount.control.client import NoAnswer, ask
from backlotfs.mount.control.server import ControlServer
from backlotfs.mount.control.unix_socket import socket_paths

PLACE = Path("/mnt/" + "long" * 60)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where sockets are in this test."""
    found = tmp_path / "run"
    monkeypatch.setattr(unix_socket, "_folders", lambda: (found,))
    # how often the server looks whether it is to end
    monkeypatch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.01,))
    return found


def fail(request: dict[str, Any]) -> dict[str, Any]:
    """A handler with a bug."""
    raise ValueError("Signature=s3cret")


def refuse(request: dict[str, Any]) -> dict[str, Any]:
    """A handler that cannot do it, and says why."""
    raise RemoteUnavailable("the host h is down")


@pytest.fixture
def server(folder: Path) -> Iterator[ControlServer]:
    """Echoes, or fails."""
    handlers = {"echo": lambda request: request, "fail": fail, "refuse": refuse}
    found = ControlServer(socket_paths(PLACE)[0], handlers)
    yield found
    found.close()


@pytest.mark.usefixtures("server")
def test_question_and_answer() -> None:
    """JSON each way, any number of times."""
    for _ in range(3):
        assert ask(PLACE, "echo", full=True, text="日\n") == {"full": True, "text": "日\n"}


@pytest.mark.usefixtures("server")
def test_errors(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown command, and one that fails: words, and the details in the mount's log only."""
    with pytest.raises(NoAnswer, match="does not know that command"):
        ask(PLACE, "nonsense")
    with caplog.at_level(logging.ERROR), pytest.raises(NoAnswer, match=r"ValueError") as caught:
        ask(PLACE, "fail")
    assert "s3cret" not in str(caught.value)
    assert "a control command failed" in caplog.text


@pytest.mark.usefixtures("server")
def test_a_reason_is_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    """As it is, with the exit code it would have had; it is no failure of the mount's."""
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(NoAnswer, match=r"^the host h is down$") as e,
    ):
        ask(PLACE, "refuse")
    assert e.value.exit_code == RemoteUnavailable.exit_code
    assert caplog.text == ""


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"[]\n", b"5\n", b'{"command": []}\n', b"\xff\n"])
def test_what_is_no_command(server: ControlServer, line: bytes) -> None:
    """Is answered, and the next one too."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(5)
        raw.connect(str(socket_paths(PLACE)[0]))
        raw.sendall(line)
        assert b"does not know" in raw.recv(1000)
    assert ask(PLACE, "echo") == {}


def test_only_its_owner_can_ask(server: ControlServer, folder: Path) -> None:
    """The folder is 0700, the socket 0600, and both stay within what a socket's path may have."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    path = socket_paths(PLACE)[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(os.fsencode(path.name)) < 30
    assert socket_paths(PLACE)[0] != socket_paths(PLACE.parent)[0]


def test_a_socket_left_by_a_killed_mount(folder: Path) -> None:
    """Is replaced; and taken away at the end."""
    folder.mkdir()
    socket_paths(PLACE)[0].touch()
    server = ControlServer(socket_paths(PLACE)[0], {"echo": lambda request: request})
    assert ask(PLACE, "echo") == {}
    server.close()
    assert not socket_paths(PLACE)[0].exists()
    with pytest.raises(NoAnswer, match="is not mounted on"):
        ask(PLACE, "echo")


def test_a_folder_of_somebody_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is not used: whoever made it could listen."""
    folder.mkdir()
    monkeypatch.setattr(
        "backlotfs.mount.control.server.os.geteuid", lambda: folder.stat().st_uid + 1
    )
    with pytest.raises(PermissionError, match=r"not this user.s own folder"):
        ControlServer(socket_paths(PLACE)[0], {})


def test_an_answer_that_is_none(server: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount of another version."""
    monkeypatch.setattr(json, "loads", lambda _text: [])
    with pytest.raises(NoAnswer, match="no usable answer"):
        ask(PLACE, "echo")
