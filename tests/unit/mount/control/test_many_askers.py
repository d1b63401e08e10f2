# SPDX-License-Identifier: Apache-2.0
"""Several who ask at once, and some who do not behave."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backlotfs.mount.control.client import AnswerLate, ask
from backlotfs.mount.control.server import MAX_REQUEST_BYTES, ControlServer
from backlotfs.mount.control.unix_socket import socket_paths
from tests.fakes.workers import PATIENCE_S
from tests.unit.mount.control.conftest import PLACE


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What a slow handler waits for; set at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def begun() -> threading.Semaphore:
    """Counts the slow commands that have begun."""
    return threading.Semaphore(0)


@pytest.fixture
def server(begun: threading.Semaphore, released: threading.Event) -> Iterator[ControlServer]:
    """``echo`` answers, ``slow`` does when it is released."""

    def slow(_request: dict[str, Any]) -> dict[str, Any]:
        begun.release()
        released.wait(10)
        return {"done": True}

    found = ControlServer(socket_paths(PLACE)[0], {"echo": lambda request: request, "slow": slow})
    yield found
    found.close()


def connected() -> socket.socket:
    """A line to the server, nothing said yet."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(PATIENCE_S)
    line.connect(str(socket_paths(PLACE)[0]))
    return line


@pytest.mark.usefixtures("server")
def test_each_gets_its_own_answer() -> None:
    """Forty at once, none mixed up."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask(PLACE, "echo", number=n), range(40)))
    assert [answer["number"] for answer in answers] == list(range(40))


@pytest.mark.usefixtures("server")
def test_a_slow_command_keeps_nobody_waiting(released: threading.Event) -> None:
    """While one is answered, others are too."""
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, PLACE, "slow")
        assert ask(PLACE, "echo", text="meanwhile") == {"text": "meanwhile"}
        assert not slow.done()
        released.set()
        assert slow.result(5) == {"done": True}


@pytest.mark.usefixtures("server")
def test_who_says_nothing_keeps_nobody_waiting() -> None:
    """Connected and silent, or gone in the middle of a word: the others are answered."""
    with connected(), connected() as leaving:
        leaving.sendall(b'{"comm')
        leaving.close()
        assert ask(PLACE, "echo") == {}


@pytest.mark.usefixtures("server")
def test_who_does_not_wait_for_the_answer() -> None:
    """Gone before it came: no trouble for the next."""
    with connected() as line:
        line.sendall(b'{"command": "echo"}\n')
    assert ask(PLACE, "echo") == {}


@pytest.mark.usefixtures("server")
def test_a_request_without_end() -> None:
    """Is read up to a bound, then refused, not collected for ever."""
    with connected() as line, line.makefile("rb") as answers:
        line.sendall(b"x" * MAX_REQUEST_BYTES)
        assert "error" in json.loads(answers.readline())


@pytest.mark.usefixtures("server")
def test_a_long_answer() -> None:
    """Arrives whole: more than one packet of it, and in any script."""
    text = '日本語 \\ " \n' * 20_000
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(_roundtrip, text).result(10) == text


def _roundtrip(text: str) -> str:
    """Through handlers, not as a request: those are short."""
    place = Path("/mnt/other")
    server = ControlServer(socket_paths(place)[0], {"long": lambda _request: {"text": text}})
    try:
        return str(ask(place, "long")["text"])
    finally:
        server.close()


def test_nobody_answers_in_time(server: ControlServer, released: threading.Event) -> None:
    """The command ends, and says what could be done; nothing shows that the mount is dead."""
    with pytest.raises(AnswerLate, match=r"on /mnt/library did not .* 0.05 s.*see its log") as late:
        ask(PLACE, "slow", timeout_s=0.05)
    assert "umount" not in str(late.value)


def test_each_mount_has_its_own() -> None:
    """Two mountpoints, two lines."""
    places = [Path("/mnt/a"), Path("/mnt/b")]
    servers = [
        ControlServer(socket_paths(place)[0], {"who": lambda _r, place=place: {"at": str(place)}})  # type: ignore[misc]  # bound now
        for place in places
    ]
    try:
        assert [ask(place, "who") for place in places] == [{"at": "/mnt/a"}, {"at": "/mnt/b"}]
    finally:
        for server in servers:
            server.close()


def test_an_old_mount_leaves_the_line_of_the_new_one(server: ControlServer) -> None:
    """Mounted again while the old process still ends: its end does not cut off the new one."""
    new = ControlServer(socket_paths(PLACE)[0], {"who": lambda _request: {"it": "is the new one"}})
    try:
        assert ask(PLACE, "who") == {"it": "is the new one"}
        server.close()
        assert ask(PLACE, "who") == {"it": "is the new one"}
    finally:
        new.close()
    assert not socket_paths(PLACE)[0].exists()


def test_the_end_waits_for_no_answer(
    server: ControlServer, begun: threading.Semaphore, released: threading.Event
) -> None:
    """Closed while a command is still being answered: at once, and it gets what it waits for."""
    with connected() as line, line.makefile("rb") as answers:
        line.sendall(b'{"command": "slow"}\n')
        assert begun.acquire(timeout=30), "the command is being answered"
        server.close()
        released.set()
        assert json.loads(answers.readline()) == {"done": True}
