# SPDX-License-Identifier: Apache-2.0
"""Connections of clients that send slowly, never read, or come in masses: others are served."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backlotfs.emulator import Emulator, EmulatorSettings, Fault, Library
from tests.emulator.conftest import CLIP, HUGE
from tests.emulator.probe import call, get, target_of
from tests.support.open_files import open_files

HALF_A_HEAD = b"GET /v2/assets HTTP/1.1\r\nHost: x\r\n"
NEVER_S = 3600.0
LONG_S = 30.0  # for what comes within a second or two on an idle machine


@contextmanager
def serving(library: Library, **settings: float) -> Iterator[Emulator]:
    """An emulator whose time limits are an hour, but for those that are given."""
    limits: dict[str, float] = {
        "head_timeout_s": NEVER_S,
        "idle_timeout_s": NEVER_S,
        "body_timeout_s": NEVER_S,
        "send_timeout_s": NEVER_S,
    }
    with Emulator(library, EmulatorSettings(**{**limits, **settings})) as running:  # type: ignore[arg-type]
        yield running


def connect(emulator: Emulator, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """A connection from the address ``source`` on which ``sent`` was sent."""
    parts = urlsplit(emulator.api_url)
    connection = socket.create_connection(
        (parts.hostname, parts.port), timeout=LONG_S, source_address=(source, 0)
    )
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the server ends the connection, without a byte, before ``LONG_S`` are over."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def is_open(connection: socket.socket) -> bool:
    """Whether the server has not ended the connection yet."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        connection.settimeout(LONG_S)


def request(target: str) -> bytes:
    """A GET of ``target``."""
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def answered_status(connection: socket.socket) -> int:
    """The status of the next answer; its body is left unread."""
    with connection.makefile("rb") as answer:
        return int(answer.readline().split()[1])


def test_a_half_sent_head_is_closed(library: Library) -> None:
    """After ``head_timeout_s``; a connection that has sent nothing may wait longer."""
    with serving(library, head_timeout_s=0.5) as emulator, ExitStack() as stack:
        idle = stack.enter_context(connect(emulator))
        half = stack.enter_context(connect(emulator, HALF_A_HEAD))
        assert is_closed(half)
        assert is_open(idle)
        idle.sendall(request("/v2/assets"))
        assert answered_status(idle) == 400


def test_a_head_that_comes_drop_by_drop_is_closed(library: Library) -> None:
    """The limit is one for the whole head: bytes in time do not make it longer."""
    with serving(library, head_timeout_s=0.5) as emulator, connect(emulator) as slow:
        slow.settimeout(0.1)
        slow.sendall(HALF_A_HEAD)
        ended, deadline = False, time.monotonic() + LONG_S
        while not ended and time.monotonic() < deadline:
            try:
                slow.sendall(b"X-One: 1\r\n")
                ended = slow.recv(1) == b""
            except TimeoutError:
                pass  # it goes on
            except ConnectionError:
                ended = True
        assert ended
        assert call(emulator, "/v2/assets").status == 200


def test_a_second_head_on_a_connection_is_limited_too(library: Library) -> None:
    """One that begins in the same packet as the request before it counts as waiting."""
    with serving(library, head_timeout_s=0.5, idle_timeout_s=1) as emulator, ExitStack() as stack:
        behind = stack.enter_context(connect(emulator, request("/v2/assets") + HALF_A_HEAD))
        assert answered_status(behind) == 400
        while behind.recv(4096):
            pass  # the rest of the answer, then the end
        alone = stack.enter_context(connect(emulator, request("/v2/assets")))
        assert answered_status(alone) == 400
        alone.sendall(HALF_A_HEAD)
        while alone.recv(4096):
            pass


def test_an_idle_connection_is_closed(library: Library) -> None:
    """One that never asked, and one kept alive after an answer."""
    with serving(library, idle_timeout_s=0.5) as emulator, ExitStack() as stack:
        silent = stack.enter_context(connect(emulator))
        kept_alive = stack.enter_context(connect(emulator, request("/v2/assets")))
        assert answered_status(kept_alive) == 400
        assert is_closed(silent)
        while kept_alive.recv(4096):
            pass


@pytest.mark.parametrize("kind", ["made up", "file"])
def test_a_client_that_never_reads_is_closed(library: Library, tmp_path: Path, kind: str) -> None:
    """After ``send_timeout_s`` in which it took no byte, of a file and of computed bytes."""
    if kind == "file":
        with open(tmp_path / "sparse.mov", "wb") as file:
            file.truncate(2**30)
        library.replace(HUGE, path=tmp_path / "sparse.mov")
    with serving(library, send_timeout_s=0.5) as emulator:
        target = target_of(emulator.source_url(HUGE))
        with connect(emulator, request(target)):
            emulator.requests.wait_for(lambda log: [e.ended for e in log.entries()] == [True])
        assert emulator.requests.entries()[-1].bytes_sent < 2**30
        assert get(emulator.source_url(HUGE), Range="bytes=0-1").status == 206


def test_a_slow_reader_is_not_closed(library: Library, tmp_path: Path) -> None:
    """Who takes some bytes now and then gets the rest, though it takes longer than the limit."""
    with open(tmp_path / "sparse.mov", "wb") as file:
        file.truncate(2**30)
    library.replace(HUGE, path=tmp_path / "sparse.mov")
    with serving(library, send_timeout_s=3) as emulator:
        target = target_of(emulator.source_url(HUGE))
        with connect(emulator, request(target)) as slow:
            deadline = time.monotonic() + 7
            while time.monotonic() < deadline:
                assert slow.recv(2**20)
                time.sleep(0.05)
            assert not emulator.requests.entries()[-1].ended


def test_a_stall_of_ours_is_not_the_clients_fault(library: Library) -> None:
    """A scripted fault may last longer than any limit for clients."""
    with serving(library, send_timeout_s=0.2, idle_timeout_s=0.2, head_timeout_s=0.2) as emulator:
        rule = emulator.faults.add(Fault.stall(5, seconds=3), route="source")
        reply = get(emulator.source_url(CLIP), Range="bytes=0-99")
        assert (reply.status, len(reply.body), rule.hits) == (206, 100, 1)


def test_a_body_that_never_ends(library: Library) -> None:
    """408 after ``body_timeout_s``, 413 for one that is too long; nobody waits for it."""
    chunked = b"POST /v2/assets HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello"
    long = b"POST /v2/assets HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n"
    with serving(library, body_timeout_s=0.5) as emulator, ExitStack() as stack:
        slow = stack.enter_context(connect(emulator, chunked))
        large = stack.enter_context(connect(emulator, long + bytes(100_000)))
        assert answered_status(slow) == 408
        assert answered_status(large) == 413


def test_a_body_that_is_no_body(library: Library) -> None:
    """Broken chunks get a 400 or the end of the connection, and no word in the log."""
    broken = b"POST /v2/assets HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    with serving(library) as emulator, connect(emulator, broken) as connection:
        assert connection.recv(12) in (b"HTTP/1.0 400", b"HTTP/1.1 400", b"")


def test_one_address_cannot_have_every_connection(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connections that wait make room for its new ones, the oldest first."""
    with serving(library, max_connections_per_address=4) as emulator, ExitStack() as stack:
        halves = [stack.enter_context(connect(emulator, HALF_A_HEAD)) for _ in range(4)]
        assert all(is_open(one) for one in halves)
        for _ in range(3):
            assert call(emulator, "/v2/assets").status == 200
        assert is_closed(halves[0])
        assert is_open(halves[-1])
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "127.0.0.1 has 4 connections open, the most for one address"
    ]
    caplog.clear()


def test_where_all_are_busy_the_next_is_turned_away(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    """With a 503; another address is served."""
    with serving(library, max_connections_per_address=4) as emulator, ExitStack() as stack:
        rule = emulator.faults.add(Fault.stall(0), route="source")
        target = target_of(emulator.source_url(CLIP))
        for _ in range(4):
            stack.enter_context(connect(emulator, request(target)))
        emulator.requests.wait_for(lambda log: log.count(route="source", status=200) == 4)
        fifth = stack.enter_context(connect(emulator))
        assert answered_status(fifth) == 503
        other = stack.enter_context(connect(emulator, request("/v2/assets"), source="127.0.0.2"))
        assert answered_status(other) == 400
        rule.release()
    caplog.clear()


def test_many_addresses_cannot_have_every_connection(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    """Where all connections are taken, one that waits makes room."""
    with serving(library, max_connections=12) as emulator, ExitStack() as stack:
        for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            for _ in range(4):
                stack.enter_context(connect(emulator, HALF_A_HEAD, source))
        for _ in range(3):
            assert call(emulator, "/v2/assets").status == 200
    caplog.clear()


def test_pipelined_requests_are_all_answered(library: Library) -> None:
    """However many a client sends before it reads; in their order."""
    count = 3000
    with serving(library) as emulator, connect(emulator) as connection:
        connection.setblocking(False)
        unsent = b"".join(
            f"GET /v2/assets/{index} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for index in range(count)
        )
        answers = b""
        deadline = time.monotonic() + 60
        while answers.count(b"HTTP/1.1 4") < count:  # 400, and 429 when the credits are spent
            assert time.monotonic() < deadline, answers.count(b"HTTP/1.1 4")
            with suppress(BlockingIOError):
                unsent = unsent[connection.send(unsent) :] if unsent else unsent
            try:
                answers += connection.recv(2**16)
            except BlockingIOError:
                time.sleep(0.001)
        asked = [entry.path_without_query for entry in emulator.requests.entries()]
    assert asked == [f"/v2/assets/{index}" for index in range(count)]


def test_requests_behind_a_body(emulator: Emulator) -> None:
    """Bodies that come in parts, and requests behind them in one packet, keep their order."""
    head = b"POST /v2/assets HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    with connect(emulator, head + b"01234") as connection:
        emulator.requests.wait_for(lambda log: log.count() == 1)
        connection.sendall(b"56789" + head + b"0123456789" + request("/v2/labels"))
        emulator.requests.wait_for(lambda log: log.count() == 3 and log.entries()[-1].ended)
    assert [entry.method for entry in emulator.requests.entries()] == ["POST", "POST", "GET"]


def test_a_head_that_is_too_large(emulator: Emulator) -> None:
    """Is refused while it comes."""
    with connect(emulator, b"GET / HTTP/1.1\r\n") as connection:
        for index in range(127):
            try:
                connection.sendall(b"X-%d: %s\r\n" % (index, b"x" * 8000))
            except ConnectionError:
                break
        else:
            assert answered_status(connection) in (400, 431)
    assert call(emulator, "/v2/assets").status == 200


def test_nothing_is_left_open_after_a_crowd(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    """Descriptors are what they were, though hundreds of connections were ended in all ways."""
    before = open_files()
    with serving(library, max_connections_per_address=16) as emulator, ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect(emulator, HALF_A_HEAD))
        assert call(emulator, "/v2/assets").status == 200
    assert open_files() <= before
    caplog.clear()
