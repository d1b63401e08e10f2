# SPDX-License-Identifier: Apache-2.0
"""Sockets of mounts in a folder of the test's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backlotfs.mount.control import unix_socket
from backlotfs.mount.control.unix_socket import socket_paths

PLACE = Path("/mnt/library")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where sockets are in this test; it does not exist yet."""
    found = tmp_path / "run"
    monkeypatch.setattr(unix_socket, "_folders", lambda: (found,))
    return found


@pytest.fixture
def answering(folder: Path) -> Iterator[Callable[[bytes], None]]:
    """Makes something of ours listen, answer each request with these bytes, and hang up."""
    folder.mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as server:

        def start(answer: bytes) -> None:
            server.bind(str(socket_paths(PLACE)[0]))
            server.listen(5)

            def serve() -> None:
                while True:
                    try:
                        with server.accept()[0] as line:
                            line.recv(65536)
                            line.sendall(answer)
                    except OSError:
                        return

            threading.Thread(target=serve, daemon=True).start()

        yield start
        server.shutdown(socket.SHUT_RDWR)
