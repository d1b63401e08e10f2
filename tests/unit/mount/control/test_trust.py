# SPDX-License-Identifier: Apache-2.0
"""Whose answers are believed, how long and how large they may be, and in which form."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from backlotfs.cli.live_status import frame
from backlotfs.cli.read_rates import Watched, samples_of
from backlotfs.cli.stats_plot import write_plot
from backlotfs.cli.status_text import one_line, process_table, stats_lines, status_lines
from backlotfs.mount.control import client
from backlotfs.mount.control.client import MOMENT, Maybe, NoAnswer, ask
from backlotfs.mount.control.server import ControlServer
from backlotfs.mount.control.unix_socket import socket_paths
from tests.fakes.workers import PATIENCE_S
from tests.unit.mount.control.conftest import PLACE

STRANGER = 45002
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
#: Listens on a socket as another user, and answers everything.
SPOOF = """
import os, socket, sys
os.setgroups([]); os.setgid(45002); os.setuid(45002)
server = socket.socket(fileno=int(sys.argv[1]))
server.listen(5)
print("ready", flush=True)
while True:
    line, _ = server.accept()
    line.recv(65536)
    line.sendall(b'{"source": "curl evil"}\\n')
    line.close()
"""

#: Says of its own socket whether it was removed: at once, and as a user whose folder it is not.
SERVER = """
import os, sys
from pathlib import Path
from backlotfs.mount.control.server import ControlServer
server = ControlServer(Path(sys.argv[1]), {})
print(server.removed, flush=True)
sys.stdin.readline()
os.setegid(45002); os.seteuid(45002)
print(server.removed, flush=True)
server.close()
print("closed")
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder as ``/tmp`` is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


def as_stranger(path: Path) -> None:
    os.lchown(path, STRANGER, STRANGER)


@AS_ROOT
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777])
def test_a_folder_that_another_user_made_first(folder: Path, mode: int) -> None:
    """Neither command nor mount uses it; the command says whose it is."""
    server = ControlServer(socket_paths(PLACE)[0], {"echo": lambda _request: {"evil": 1}})
    as_stranger(folder)
    folder.chmod(mode)
    with pytest.raises(NoAnswer, match=f"{folder}: it belongs to another user"):
        ask(PLACE, "echo")
    with pytest.raises(PermissionError, match="another user"):
        ControlServer(socket_paths(PLACE)[0], {})
    assert folder.stat().st_mode & 0o777 == mode
    server.close()


def test_a_folder_that_all_can_write_to(folder: Path) -> None:
    """Anybody may have put the socket there."""
    folder.mkdir()
    folder.chmod(0o777)
    for use in (lambda: ask(PLACE, "echo"), lambda: ControlServer(socket_paths(PLACE)[0], {})):
        with pytest.raises((NoAnswer, PermissionError), match="open to other users"):
            use()


def test_a_folder_that_is_a_link(folder: Path, tmp_path: Path) -> None:
    """Is refused, wherever it leads."""
    (tmp_path / "elsewhere").mkdir(0o700)
    folder.symlink_to("elsewhere")
    with pytest.raises(NoAnswer, match="is a link"):
        ask(PLACE, "echo")
    with pytest.raises(PermissionError, match="is a link"):
        ControlServer(socket_paths(PLACE)[0], {})


@pytest.mark.parametrize("kind", ["link", "file", "fifo", "folder"])
def test_a_socket_that_is_none(folder: Path, tmp_path: Path, kind: str) -> None:
    """A link to a socket elsewhere is none either."""
    other = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(other))
        server.listen(5)
        folder.mkdir(0o700)
        path = socket_paths(PLACE)[0]
        if kind == "link":
            path.symlink_to(other)
        elif kind == "file":
            path.touch()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.mkdir()
        with pytest.raises(NoAnswer, match="is not a socket"):
            ask(PLACE, "echo")


@AS_ROOT
@pytest.mark.parametrize("kind", ["nothing", "file", "link"])
def test_a_folder_that_another_user_put_in_place_of_ours(shared: Path, kind: str) -> None:
    """A cleaner of ``/tmp`` has removed ours: the mount notices that, and ends all the same."""
    folder = shared / "run"
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder / "x.sock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "False\n"
        shutil.rmtree(folder)
        if kind == "link":
            folder.symlink_to("elsewhere")
        else:
            folder.mkdir(0o700)
        if kind == "file":
            (folder / "x.sock").touch()
            folder.chmod(0o755)
        found, _ = server.communicate("look\n", PATIENCE_S)
    assert (found, server.returncode) == ("True\nclosed\n", 0)
    assert (folder / "x.sock").exists() is (kind == "file")


@AS_ROOT
def test_another_user_who_listens_on_our_socket(folder: Path) -> None:
    """The kernel says who it is, whatever the path is like."""
    folder.mkdir(0o700)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(socket_paths(PLACE)[0]))
    # SO_PEERCRED is of who called listen(2), which the stranger does
    spoof = subprocess.Popen(
        [sys.executable, "-c", SPOOF, str(server.fileno())],
        pass_fds=[server.fileno()],
        stdout=subprocess.PIPE,
    )
    try:
        assert spoof.stdout is not None
        assert spoof.stdout.readline() == b"ready\n"
        with pytest.raises(NoAnswer, match=f"another user .uid {STRANGER}. listens"):
            ask(PLACE, "echo")
    finally:
        spoof.kill()
        spoof.communicate()
        server.close()


def test_an_answer_without_end(
    answering: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is read up to a bound."""
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 100_000)
    answering(b"x" * 300_000)
    with pytest.raises(NoAnswer, match="it is too long"):
        ask(PLACE, "echo", timeout_s=PATIENCE_S)


def test_an_answer_that_drips(folder: Path) -> None:
    """The time is for all of it, not for each piece."""
    folder.mkdir(0o700)
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_paths(PLACE)[0]))
        server.listen(5)

        def drip() -> None:
            line, _ = server.accept()
            with line:
                while not ended.wait(0.1):
                    try:
                        line.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        began_s = time.monotonic()
        try:
            with pytest.raises(NoAnswer, match="busy"):
                ask(PLACE, "echo", timeout_s=1.0)
        finally:
            ended.set()
            thread.join()
        assert time.monotonic() - began_s < 30.0


def example(shape: Any) -> Any:
    """The least that a shape asks for."""
    if isinstance(shape, Maybe):
        return example(shape.shape)
    if isinstance(shape, dict):
        return {"name" if key is str else key: example(inner) for key, inner in shape.items()}
    if isinstance(shape, list):
        return [example(shape[0])]
    return 7 if shape is MOMENT else {int: 5, float: 1.5, str: "text", bool: True}[shape]


def spoilt(value: Any, shape: Any) -> Iterator[Any]:
    """``value`` in every way that is not of the shape, one fault at a time."""
    if isinstance(shape, Maybe):
        yield from spoilt(value, shape.shape)
    elif isinstance(shape, dict):
        yield from ([], "x", 3)
        for key, inner in shape.items():
            name = "name" if key is str else key
            if key is not str:
                yield {one: value[one] for one in value if one != name}
            yield from ({**value, name: bad} for bad in spoilt(value[name], inner))
    elif isinstance(shape, list):
        yield from ({}, "x", 3)
        if len(shape) > 1:
            yield []
        yield from ([bad] for bad in spoilt(value[0], shape[0]))
    elif shape is str:
        yield from (3, [], {}, True)
    elif shape is bool:
        yield from (3, "x", 10**9)
    else:
        yield from ("5", [], {}, True, 10**30, math.inf, math.nan)
        if shape is MOMENT:
            yield from (-1, 10**15)
        if shape is int:
            yield 1.5


@pytest.mark.parametrize("command", [name for name in client._SHAPES if name != "pins brief"])
def test_answers_of_another_form(command: str) -> None:
    """Are refused as such: no traceback, no nonsense."""
    shape = client._SHAPES[command]
    good = example(shape)
    assert client.problem_of(good, command) is None
    assert client.problem_of({**good, "new": {"key": 1}}, command) is None
    for bad in spoilt(good, shape):
        problem = client._problem(bad, shape, "it")
        assert problem is not None, bad
        assert problem.isprintable()


def test_what_was_checked_is_all_that_is_used(tmp_path: Path) -> None:
    """The texts and pictures of `status` and `stats` need no other keys, and take every null."""

    def with_nulls(shape: Any) -> Any:
        if isinstance(shape, Maybe):
            return None
        if isinstance(shape, dict):
            return {"n" if key is str else key: with_nulls(inner) for key, inner in shape.items()}
        return example(shape)

    for made in (example, with_nulls):
        status, stats = made(client._SHAPES["status"]), made(client._SHAPES["stats"])
        assert status_lines(status)
        assert one_line(status)
        assert stats_lines(stats)
        assert process_table(stats["processes"])
        watched = Watched(samples_of(stats["history"]))
        watched.add(0.0, status)
        watched.add(100.0, status)
        assert frame(watched, Console(width=100, height=60)).plain
        write_plot(stats, tmp_path / "x.svg")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "is not mounted on"),
        (b"{", "it is not JSON"),
        (b"\xff\n", "it is not JSON"),
        (b"[1]\n", "it is not an object"),
        (b'"text"\n', "it is not an object"),
    ],
)
def test_answers_that_are_none(answering: Callable[[bytes], None], answer: bytes, why: str) -> None:
    """Cut off, not JSON, not an object: an error in words, not a traceback."""
    answering(answer)
    with pytest.raises(NoAnswer, match=why):
        ask(PLACE, "echo", timeout_s=PATIENCE_S)


@pytest.mark.parametrize(
    "answer",
    [
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b"9" * 10_000 + b"\n",
        b'{"error": {"a": 1}, "exit_code": 1000}\n',
        b'{"error": "x", "exit_code": true}\n',
        b'{"source": "\\u001b[2J"}\n',
        json.dumps({"processes": "x"}).encode() + b"\n",
    ],
    ids=range(7),
)
@pytest.mark.parametrize("command", ["status", "stats", "pins", "cached"])
def test_malformed_answers(answering: Callable[[bytes], None], answer: bytes, command: str) -> None:
    """One error in words."""
    answering(answer)
    with pytest.raises(NoAnswer) as caught:
        ask(PLACE, command, timeout_s=PATIENCE_S)
    assert 0 < caught.value.exit_code < 126
