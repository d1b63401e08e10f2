# SPDX-License-Identifier: Apache-2.0
"""Ranged GETs over kept-alive connections, against a server of raw sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tracemalloc
from collections.abc import Iterator

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.errors import InvalidRangeResponse, ProtocolViolation, RemoteUnavailable
from backlotfs.http import pool as pool_module
from backlotfs.http.address_policy import SourcePolicy, SourceRefused
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.pool import ConnectionPool, small_body
from backlotfs.http.range_checks import answered_range
from tests.unit.http.raw_server import RawServer, Reply, ok

WANTED = ByteRange(0, 4)
SECRET = "vjbyPxybdZaNmGa%2ByT272YEAiv4%3D"


@pytest.fixture
def pool() -> Iterator[ConnectionPool]:
    """A pool that leaves no socket open."""
    dialer = Dialer(SourcePolicy.of("http://127.0.0.1", ["*.example"]), client_context)
    found = ConnectionPool(dialer, user_agent="backlotfs/test")
    yield found
    found.close()


def body(pool: ConnectionPool, url: str, size: int = 4) -> bytes:
    """One GET, its body read as far as ``size``."""
    with pool.get(url, WANTED, timeout_s=5) as answer:
        return answer.read(size)


@pytest.mark.parametrize(
    ("rest", "target"),
    [
        ("/a%2Fb%2fc?Expires=1&Signature=x%2By%3d&", "/a%2Fb%2fc?Expires=1&Signature=x%2By%3d&"),
        ("/a//b/../c/./d", "/a//b/../c/./d"),
        ("/a+b%20c?x=a+b&&y", "/a+b%20c?x=a+b&&y"),
        ("/a?", "/a?"),
        ("?x=1", "/?x=1"),
        ("", "/"),
        ("/a?next=http://h/p", "/a?next=http://h/p"),
        ("/a%23?x=1#fragment", "/a%23?x=1"),
    ],
)
def test_a_url_is_sent_byte_for_byte(pool: ConnectionPool, rest: str, target: str) -> None:
    """Nothing is decoded, encoded, sorted, merged or dropped but the fragment."""
    with RawServer(ok(b"abcd")) as server:
        assert body(pool, server.url + rest) == b"abcd"
        assert server.targets == [target.encode()]


def test_headers(pool: ConnectionPool) -> None:
    """The range, stored bytes, the agent, the validator; and nothing of the user's."""
    with RawServer(ok(b"abcd"), ok(b"abcd")) as server:
        with pool.get(server.url + "/a", WANTED, if_match='"v1"') as answer:
            assert answer.status == 206
            assert answer.headers["x-mark"] == "YES"
            assert answer.host == "127.0.0.1"
            answer.read(4)
        body(pool, server.url + "/a")
        first, second = (head.decode().split("\r\n")[1:-2] for _, head in server.requests)
    names = [line.split(":")[0].lower() for line in first]
    assert sorted(names) == ["accept-encoding", "host", "if-match", "range", "user-agent"]
    assert "Range: bytes=0-3" in first
    assert "Accept-Encoding: identity" in first
    assert 'If-Match: "v1"' in first
    assert not [line for line in second if line.startswith("If-Match")]


def test_a_connection_is_kept_alive(pool: ConnectionPool) -> None:
    """A body that was read to its end leaves its connection to the next GET."""
    with RawServer(ok(b"abcd"), ok(b"efgh"), ok(b"")) as server:
        seen = []
        for _ in range(3):
            with pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
                seen.append((answer.read(4), answer.new_connection))
        assert seen == [(b"abcd", True), (b"efgh", False), (b"", False)]
        assert server.connections == [0, 0, 0]


def test_an_unread_body_costs_its_connection(pool: ConnectionPool) -> None:
    """What is left of it would be taken for the next answer."""
    with RawServer(ok(b"abcd"), ok(b"efgh")) as server:
        assert body(pool, server.url + "/a", size=3) == b"abc"
        assert body(pool, server.url + "/a") == b"efgh"
        assert server.connections == [0, 1]


@pytest.mark.parametrize("sizes", [(4,), (4, 4), (10,)])
def test_a_short_body_costs_its_connection(pool: ConnectionPool, sizes: tuple[int, ...]) -> None:
    """A body that ends before its length is read as far as it goes."""
    with RawServer(ok(b"ab", promised=10, hang_up=True), ok(b"efgh")) as server:
        with pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
            read = b"".join(answer.read(size) for size in sizes)
        assert read == b"ab"
        assert body(pool, server.url + "/a") == b"efgh"
        assert server.connections == [0, 1]


def test_an_answer_without_a_length(pool: ConnectionPool) -> None:
    """It ends with its connection, which is not used again."""
    with RawServer(
        Reply(b"HTTP/1.1 206 OK\r\nConnection: close\r\n\r\nabcd", hang_up=True), ok(b"efgh")
    ) as server:
        with pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
            assert answer.read(4) == b"abcd"
            assert answer.read(1) == b""
        assert body(pool, server.url + "/a") == b"efgh"
        assert server.connections == [0, 1]


def test_a_connection_that_the_server_closed_is_replaced_for_free(pool: ConnectionPool) -> None:
    """An idle connection the server dropped is no failure; the GET goes out on a new one."""
    with RawServer(ok(b"abcd"), ok(b"efgh")) as server:
        body(pool, server.url + "/a")
        server.hang_up()
        with pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
            assert answer.new_connection
            assert answer.read(4) == b"efgh"
        assert server.connections == [0, 1]


def test_an_old_idle_connection_is_not_used(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `IDLE_TIMEOUT_S` it is closed by us."""
    with RawServer(ok(b"abcd"), ok(b"efgh")) as server:
        body(pool, server.url + "/a")
        monkeypatch.setattr(pool_module, "IDLE_TIMEOUT_S", -1.0)
        assert body(pool, server.url + "/a") == b"efgh"
        assert server.connections == [0, 1]


def test_only_so_many_idle_connections_are_kept(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest goes; the newest is used first."""
    monkeypatch.setattr(pool_module, "IDLE_PER_HOST", 1)
    with RawServer(*[ok(b"abcd")] * 3) as server:
        first = pool.get(server.url + "/a", WANTED, timeout_s=5)
        second = pool.get(server.url + "/a", WANTED, timeout_s=5)
        for answer in (first, second):
            answer.read(4)
            answer.close()
        body(pool, server.url + "/a")
        assert server.connections == [0, 1, 1]


def test_only_so_many_idle_connections_are_kept_in_all(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API that names a new port for each asset does not take every descriptor."""
    monkeypatch.setattr(pool_module, "IDLE_IN_ALL", 2)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(RawServer(*[ok(b"abcd")] * 2)) for _ in range(4)]
        for server in servers:
            body(pool, server.url + "/a")
        for server in reversed(servers):
            body(pool, server.url + "/a")
        # the two newest were used again; the others were closed for them
        assert [server.connections for server in servers] == [[0, 1], [0, 1], [0, 0], [0, 0]]


def test_old_idle_connections_of_other_hosts_are_closed(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody asks that host any more."""
    with RawServer(ok(b"abcd")) as first, RawServer(ok(b"abcd")) as second:
        body(pool, first.url + "/a")
        assert len(pool._idle) == 1
        monkeypatch.setattr(pool_module, "IDLE_TIMEOUT_S", -1.0)
        body(pool, second.url + "/a")
        assert pool._idle == []


def test_a_stalled_answer_is_not_sent_twice(pool: ConnectionPool) -> None:
    """On a kept-alive connection too: the server may be at work on it."""
    with RawServer(ok(b"abcd"), Reply(None)) as server:
        body(pool, server.url + "/a")
        with pytest.raises(RemoteUnavailable, match="in time"):
            pool.get(server.url + "/a", WANTED, timeout_s=0.05)
        assert server.connections == [0, 0]


def test_a_stalled_body(pool: ConnectionPool) -> None:
    """The wait for a byte is bounded; the connection is lost.

    By the socket's time limit or by that of the exchange, which is the same: the first one tells.
    """
    words = r"127\.0\.0\.1: (no byte came|its answer did not come) in time"
    with (
        RawServer(ok(b"ab", promised=4)) as server,
        pool.get(server.url + "/a", WANTED, timeout_s=0.5) as answer,
        pytest.raises(RemoteUnavailable, match=words),
    ):
        answer.read(4)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(b"", hang_up=True), "the connection was cut"),
        (Reply(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", hang_up=True), "does not speak HTTP"),
        (Reply(b"HTTP/1.1 206 OK\r\nX: " + b"y" * 70_000, hang_up=True), "does not speak HTTP"),
    ],
)
def test_broken_answers(pool: ConnectionPool, reply: Reply, says: str) -> None:
    """Words for each, without the URL."""
    with RawServer(reply) as server, pytest.raises(RemoteUnavailable, match=says) as caught:
        pool.get(f"{server.url}/a?Signature={SECRET}", WANTED, timeout_s=5)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_an_answer_is_not_taken_for_the_next_one(pool: ConnectionPool, status: bytes) -> None:
    """What stands in front of an answer (1xx) is passed over, however many."""
    early = b"HTTP/1.1 " + status + b"\r\nLink: </x>\r\n\r\n"
    first = Reply(early * 3 + (ok(b"abcd").text or b""))
    with RawServer(first, ok(b"efgh")) as server:
        with pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
            assert answer.status == 206
            assert answer.headers["x-mark"] == "YES"
            assert answer.read(4) == b"abcd"
        assert body(pool, server.url + "/b") == b"efgh"
        assert server.connections == [0, 0]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Length: 4, 9\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Length: 0x4\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Length: -4\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\n",
        # lines behind which the library sees no header any more
        b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\nnone\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\nX: a\rb\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_body_whose_end_is_unclear(pool: ConnectionPool, head: bytes) -> None:
    """Its framing would be taken for bytes of the file, or its bytes for the next answer."""
    with (
        RawServer(Reply(head + b"4\r\nabcd\r\n0\r\n\r\n", hang_up=True)) as server,
        pytest.raises(RemoteUnavailable, match="does not speak HTTP"),
    ):
        pool.get(server.url + "/a", WANTED, timeout_s=5)


def test_many_headers(pool: ConnectionPool) -> None:
    """As of an object with much metadata: more than the library allows by itself."""
    many = b"".join(b"x-amz-meta-%d: x\r\n" % number for number in range(900))
    head = b"HTTP/1.1 206 OK\r\n" + many + b"Content-Length: 4\r\n\r\n"
    with RawServer(Reply(head + b"abcd")) as server:
        assert body(pool, server.url + "/a") == b"abcd"


def test_what_comes_behind_an_answer_is_not_the_next_one(pool: ConnectionPool) -> None:
    """As of a host or proxy that answers twice: the next GET goes over another connection."""
    more = ok(b"abcd").text or b""
    with RawServer(Reply(more + more), Reply(more + b"\r\n"), ok(b"efgh"), ok(b"ijkl")) as server:
        for sent in (b"abcd", b"abcd", b"efgh", b"ijkl"):
            found = bytearray(4)
            with pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
                assert answer.read_into([memoryview(found)], 5.0) == 4
            assert bytes(found) == sent
        assert server.connections == [0, 1, 2, 2]


def test_headers_that_contradict_each_other(pool: ConnectionPool) -> None:
    """Both are seen, so that neither is believed; one that is only repeated is one."""
    head = (
        b"HTTP/1.1 206 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\nX-Twice: a\r\n"
        b"Content-Encoding: identity\r\nX-Twice: a\r\nContent-Length: 4\r\n"
        b"Content-Range: bytes 0-3/10\r\nContent-Range: bytes 0-3/20\r\n\r\n"
    )
    with (
        RawServer(Reply(head + b"abcd")) as server,
        pool.get(server.url + "/a", WANTED, timeout_s=5) as answer,
    ):
        assert answer.headers["content-encoding"] == "gzip, identity"
        assert answer.headers["content-range"] == "bytes 0-3/10, bytes 0-3/20"
        assert answer.headers["x-twice"] == "a"
        with pytest.raises(InvalidRangeResponse, match="encoding"):
            answered_range(answer.status, answer.headers)


def test_a_chunk_of_negative_length(pool: ConnectionPool) -> None:
    """No more is held than was asked for: the library would read until the host ends."""
    head = b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
    with RawServer(Reply(head + b"x" * 8_000_000, hang_up=True)) as server:
        tracemalloc.start()
        try:
            with pool.get(server.url + "/a", WANTED, timeout_s=5) as answer:
                assert len(small_body(answer, 100_000)) <= 100_000
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak_bytes < 4_000_000


def test_a_chunked_body_that_is_cut(pool: ConnectionPool) -> None:
    """The library's own error does not leave."""
    head = b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab"
    with (
        RawServer(Reply(head, hang_up=True)) as server,
        pool.get(server.url + "/a", WANTED, timeout_s=5) as answer,
        pytest.raises(RemoteUnavailable, match="the connection was cut"),
    ):
        answer.read(4)


def test_refused(pool: ConnectionPool) -> None:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RemoteUnavailable, match=r"source host 127\.0\.0\.1: it refuses"):
        pool.get(f"http://127.0.0.1:{port}/a?Signature={SECRET}", WANTED)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (socket.gaierror(-2, "Name or service not known"), "its name does not resolve"),
        (UnicodeError("label too long"), "its name does not resolve"),
        (TimeoutError("timed out"), "no connection came about in time"),
        (ConnectionRefusedError(111, "refused"), "it refuses the connection"),
        (ssl.SSLError(1, "wrong version"), "TLS failed"),
        (OSError(101, f"unreachable {SECRET}"), "there is no route to it"),
        (OSError(5, f"odd {SECRET}"), "the connection was cut"),
    ],
)
def test_words_for_failures_to_connect(
    pool: ConnectionPool, error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours, not the library's, which may quote the URL."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(RemoteUnavailable, match=f"^source host origin.example: {says}$"):
        pool.get(f"https://origin.example/a?Signature={SECRET}", WANTED)


@pytest.mark.parametrize(
    "url",
    ["ftp://h/a", "file:///etc/passwd", "//h/a", "h/a", "", "http://", "http:///a", "javascript:1"],
)
def test_only_http_urls(pool: ConnectionPool, url: str) -> None:
    """Any other scheme, or no host, is refused before a connection is made."""
    with pytest.raises(ProtocolViolation, match="refused"):
        pool.get(f"{url}?Signature={SECRET}", WANTED)


@pytest.mark.parametrize("url", ["http://h:99999/a", "http://h:x/a", "http://[::1/a"])
def test_urls_that_cannot_be_parsed(pool: ConnectionPool, url: str) -> None:
    """The parser's error would quote the URL."""
    with pytest.raises(ProtocolViolation, match=r"cannot be parsed$"):
        pool.get(f"{url}?Signature={SECRET}", WANTED)


def test_a_url_with_a_line_break_is_not_sent(pool: ConnectionPool) -> None:
    """It could carry a header of its own."""
    with RawServer() as server, pytest.raises((ProtocolViolation, RemoteUnavailable)) as caught:
        pool.get(f"{server.url}/a\x7f?Signature={SECRET}", WANTED)
    assert not server.requests
    assert SECRET not in str(caught.value)


def test_close_closes_idle_connections(pool: ConnectionPool) -> None:
    """The next GET connects anew."""
    with RawServer(ok(b"abcd"), ok(b"efgh")) as server:
        body(pool, server.url + "/a")
        pool.close()
        body(pool, server.url + "/a")
        assert server.connections == [0, 1]


def test_an_address_that_policy_refuses(pool: ConnectionPool) -> None:
    """Its own error, not that of a host that is away; nothing of the query in it."""
    with pytest.raises(SourceRefused, match=r"169\.254\.169\.254") as caught:
        pool.get(f"http://169.254.169.254/latest?Signature={SECRET}", WANTED)
    assert SECRET not in str(caught.value)
