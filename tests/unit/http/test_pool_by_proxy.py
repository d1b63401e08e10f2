# SPDX-License-Identifier: Apache-2.0
"""GETs of sources through a proxy, which host is to blame for a failure, and hints at variables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.config.proxy import parse_proxy
from backlotfs.errors import CircuitOpen, HostUnreachable, LastingFailure
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.circuit_breaker import LIMIT, RETRY_INTERVAL_S, Breakers
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.pool import ConnectionPool
from tests.fakes.clocks import ManualClock
from tests.support.connect_proxy import ConnectProxy
from tests.unit.http.raw_server import RawServer, ok

WANTED = ByteRange(0, 4)
GOOD, OTHER = "http://good.example/a?Signature=SIGN", "http://other.example/b?Signature=SIGN"


@contextlib.contextmanager
def pool_by(
    proxy: ConnectProxy | None, clock: ManualClock | None = None
) -> Iterator[ConnectionPool]:
    """A pool whose connections go through ``proxy``."""
    chosen = None if proxy is None else parse_proxy(f"http://name:word@{proxy}", "x")
    door = Dialer(SourcePolicy.of("https://api.example"), client_context, proxy=chosen)
    breakers = None if clock is None else Breakers(clock)
    with contextlib.closing(ConnectionPool(door, user_agent="t", breakers=breakers)) as pool:
        yield pool


def body(pool: ConnectionPool, url: str) -> bytes:
    """One GET."""
    with pool.get(url, WANTED, timeout_s=30) as answer:
        return answer.read(4)


def failure(pool: ConnectionPool, url: str) -> HostUnreachable:
    """The error of one GET."""
    with pytest.raises(HostUnreachable) as caught:
        body(pool, url)
    assert "SIGN" not in str(caught.value)
    return caught.value


def test_the_host_gets_the_same_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same target and headers, no credentials of the proxy; one connection for many GETs."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with RawServer(ok(b"abcd"), ok(b"efgh")) as server:
        places = {"good.example:80": server.url.removeprefix("http://")}
        with ConnectProxy(places=places, credentials="name:word") as proxy, pool_by(proxy) as pool:
            assert [body(pool, GOOD), body(pool, GOOD)] == [b"abcd", b"efgh"]
        assert proxy.asked == ["good.example:80"]
        assert server.targets == [b"/a?Signature=SIGN"] * 2
        heads = b"".join(head for _, head in server.requests).lower()
        assert b"host: good.example\r\n" in heads
        assert b"proxy" not in heads


def test_a_proxy_that_is_down_is_blamed_itself() -> None:
    """No reader waits for each host in turn, and no host has to be found again afterwards."""
    clock = ManualClock()
    with RawServer(ok(b"abcd"), ok(b"efgh")) as server:
        place = server.url.removeprefix("http://")
        places = {"good.example:80": place, "other.example:80": place}
        with ConnectProxy(places=places) as gone:
            pass
        with pool_by(gone, clock) as pool:
            for _ in range(LIMIT):
                error = failure(pool, GOOD)
                assert str(error).startswith(f"proxy {gone}: it refuses the connection; ")
                assert not isinstance(error, CircuitOpen)
            assert isinstance(failure(pool, OTHER), CircuitOpen), "it goes through the same proxy"
            with ConnectProxy(port=gone.address[1], places=places):
                clock.sleep(RETRY_INTERVAL_S)
                assert [body(pool, OTHER), body(pool, GOOD)] == [b"abcd", b"efgh"]


def test_a_host_that_the_proxy_does_not_reach_is_blamed_alone() -> None:
    """Others are asked meanwhile."""
    with RawServer(ok(b"abcd")) as server:
        places = {
            "good.example:80": server.url.removeprefix("http://"),
            "other.example:80": "127.0.0.1:1",
        }
        with ConnectProxy(places=places) as proxy, pool_by(proxy, ManualClock()) as pool:
            said = f"proxy {proxy}: it cannot reach other.example:80 (502); "
            for _ in range(LIMIT):
                assert str(failure(pool, OTHER)).startswith(said)
            assert isinstance(failure(pool, OTHER), CircuitOpen)
            assert body(pool, GOOD) == b"abcd"


def test_what_lasts_is_not_tried_again() -> None:
    """Proxies lock accounts after a few wrong passwords."""
    with ConnectProxy(credentials="name:other") as proxy, pool_by(proxy) as pool:
        error = failure(pool, GOOD)
    assert isinstance(error, LastingFailure)
    assert not error.transient
    assert "(407)" in str(error)
    assert "word@" not in str(error)


def test_tls_that_fails_behind_a_proxy_says_through_which() -> None:
    """Both may be to blame."""
    with ConnectProxy() as proxy, pool_by(proxy) as pool:
        proxy.reply = b"HTTP/1.1 200 OK\r\n\r\n"  # and then nothing
        url = GOOD.replace("http:", "https:")
        with pytest.raises(HostUnreachable) as caught:
            pool.get(url, WANTED, timeout_s=1)
    assert str(caught.value) == (
        f"source host good.example: no connection came about in time (through proxy {proxy})"
    )


@pytest.mark.parametrize(
    ("variable", "named"), [("https_proxy", True), ("HTTP_PROXY", True), ("no_such", False)]
)
def test_an_ignored_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, named: bool
) -> None:
    """Where no connection came about; never its value."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(variable, "http://user:SIGN@proxy")
    with pool_by(None) as pool:
        error = failure(pool, "http://media.smalllib.invalid/a")
    said = str(error)
    assert said.startswith("source host media.smalllib.invalid: its name does not resolve")
    assert (f"{variable} is set, but is not used" in said) is named
    assert ("--proxy" in said) is named
