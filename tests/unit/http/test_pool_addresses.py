# SPDX-License-Identifier: Apache-2.0
"""GETs of a source host that has several addresses: which of them is asked."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.errors import RemoteUnavailable
from backlotfs.http import pool as pool_module
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.pool import ConnectionPool
from tests.unit.http.raw_server import RawServer, ok

WANTED = ByteRange(0, 4)


@contextlib.contextmanager
def pool_of(*hosts: str) -> Iterator[ConnectionPool]:
    """A pool for which every name has these addresses, in this order."""

    def resolve(_host: str, port: int, *rest: int) -> object:
        return [info for host in hosts for info in socket.getaddrinfo(host, port, *rest)]

    policy = SourcePolicy.of("https://api.example", ["*.example"])
    door = Dialer(policy, client_context, resolve=resolve)  # type: ignore[arg-type]
    with contextlib.closing(ConnectionPool(door, user_agent="t")) as pool:
        yield pool


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name of which nothing is remembered yet."""
    return f"{request.node.name.replace('_', '-')}.example"


def port_of(server: RawServer) -> int:
    """Where it listens."""
    return int(server.url.rpartition(":")[2])


def head(pool: ConnectionPool, url: str, *, new: bool = False) -> None:
    """A GET over a new connection, which is not kept alive."""
    pool.get(url, WANTED, timeout_s=30, new_connection=new).close()


def test_each_connection_distrusts_its_own_address(name: str) -> None:
    """The second one that hangs ends when another address has already answered."""
    with (
        RawServer(ok(b"abcd"), ok(b"abcd")) as good,
        socket.create_server(("127.0.0.2", port_of(good))) as hanging,
        pool_of("127.0.0.2", "127.0.0.1") as pool,
    ):
        url = f"http://{name}:{port_of(good)}/a"

        def fail() -> None:
            with pytest.raises(RemoteUnavailable):
                head(pool, url)

        ended = []
        for _ in range(2):
            thread = threading.Thread(target=fail)
            thread.start()
            ended.append((hanging.accept()[0], thread))
        for taken, thread in ended:
            taken.close()
            thread.join()
            head(pool, url)
        assert len(good.requests) == 2


def test_a_new_connection_leads_to_the_next_address(name: str) -> None:
    """So the proof that two ETags name one version finds the node that sent the first."""
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(RawServer(*[ok(b"abcd")] * 5))
        more = [RawServer(*[ok(b"abcd")] * 5, host=host, port=port_of(first)) for host in hosts[1:]]
        nodes = [first, *map(opened.enter_context, more)]
        pool = opened.enter_context(pool_of(*hosts))
        url = f"http://{name}:{port_of(first)}/a"
        for _ in range(2):
            head(pool, url)
        assert [len(node.requests) for node in nodes] == [2, 0, 0]
        for _ in range(3):
            head(pool, url, new=True)
        assert [len(node.requests) for node in nodes] == [3, 1, 1]


def test_the_first_address_that_hangs_is_left_soon(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two hang, the host is slow, perhaps: the second one has the usual time."""
    monkeypatch.setattr(pool_module, "UNPROVEN_S", 0.2)
    monkeypatch.setattr(pool_module, "STALL_TIMEOUT_S", 1.0)
    with (
        RawServer(ok(b"abcd"), ok(b"abcd")) as good,
        socket.create_server(("127.0.0.2", port_of(good))),
        socket.create_server(("127.0.0.3", port_of(good))),
        pool_of("127.0.0.2", "127.0.0.3", "127.0.0.1") as pool,
    ):
        url = f"http://{name}:{port_of(good)}/a"
        took = []
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(RemoteUnavailable):
                head(pool, url)
            took.append(time.monotonic() - began)
        assert took[0] < took[1]
        assert took[1] >= 1.0
        head(pool, url)
        assert len(good.requests) == 1
