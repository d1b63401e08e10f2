# SPDX-License-Identifier: Apache-2.0
"""Bodies received straight into the caller's memory, in each way a server may send them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.config.time_limits import WATCHDOG_S
from backlotfs.errors import RemoteUnavailable
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.pool import ConnectionPool
from tests.unit.http.raw_server import RawServer, Reply, ok

WANTED = ByteRange(0, 8)


@pytest.fixture
def pool() -> Iterator[ConnectionPool]:
    """To this machine."""
    dialer = Dialer(SourcePolicy.of("http://127.0.0.1"), client_context)
    found = ConnectionPool(dialer, user_agent="t")
    yield found
    found.close()


def received(pool: ConnectionPool, reply: Reply, *sizes: int, timeout_s: float = 5) -> list[bytes]:
    """One body in pieces of these sizes."""
    with RawServer(reply) as server, pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
        room = [bytearray(size) for size in sizes]
        count = answer.read_into([memoryview(piece) for piece in room], timeout_s)
        whole = b"".join(room)[:count]
    return [whole[: sizes[0]], whole[sizes[0] :]]


def test_a_pause_of_ours_is_no_silence_of_the_host(pool: ConnectionPool) -> None:
    """A limit of the bandwidth may ask for one that is longer than a part of the body may take."""
    with RawServer(ok(b"abcdefgh"), ok(b"ijkl")) as server:
        room = bytearray(4)
        with pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
            answer.read_into([memoryview(room)], 1.0)
            time.sleep(1.0 + 3 * WATCHDOG_S)
            assert answer.read_into([memoryview(room)], 5.0) == 4
        assert room == b"efgh"
        with pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
            assert answer.read(4) == b"ijkl"
        assert server.connections == [0, 0], "the connection was cut meanwhile"


@pytest.mark.parametrize(
    "reply",
    [
        ok(b"abcdefgh"),
        Reply(b"HTTP/1.1 206 OK\r\nConnection: close\r\n\r\nabcdefgh", hang_up=True),
        Reply(b"HTTP/1.0 206 OK\r\nContent-Length: 8\r\n\r\nabcdefgh", hang_up=True),
        Reply(
            b"HTTP/1.1 206 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nabcdefgh",
            hang_up=True,
        ),
        Reply(
            b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n"
        ),
    ],
)
def test_ways_to_send_a_body(pool: ConnectionPool, reply: Reply) -> None:
    """With a length, until the connection is closed, in chunks: the same bytes."""
    assert received(pool, reply, 3, 5) == [b"abc", b"defgh"]


@pytest.mark.parametrize(
    "reply",
    [
        ok(b"abcd", promised=8, hang_up=True),
        Reply(b"HTTP/1.1 206 OK\r\nConnection: close\r\n\r\nabcd", hang_up=True),
    ],
)
def test_a_body_that_ends_early(pool: ConnectionPool, reply: Reply) -> None:
    """What came is counted, no more."""
    assert received(pool, reply, 3, 5) == [b"abc", b"d"]


@pytest.mark.parametrize(
    "reply",
    [
        ok(b"abcd", promised=8),
        Reply(b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcd"),
    ],
)
def test_a_body_that_stalls(pool: ConnectionPool, reply: Reply) -> None:
    """The time for all of it ends the wait for the rest; what came is not thrown away."""
    whole = b"Transfer-Encoding" not in repr(reply).encode()
    expected = (
        contextlib.nullcontext()
        if whole
        else pytest.raises(RemoteUnavailable, match=r"did not come|no byte came")
    )
    with expected:
        assert received(pool, reply, 3, 5, timeout_s=0.1) == [b"abc", b"d"]
