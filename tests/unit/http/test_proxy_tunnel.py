# SPDX-License-Identifier: Apache-2.0
"""What proxies answer to CONNECT, and what a user is told of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from backlotfs.config.proxy import parse_proxy
from backlotfs.http.address_policy import SourcePolicy, SourceRefused
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.proxy_tunnel import MAX_HEAD_BYTES, ProxyFailed, connect_through
from tests.support.connect_proxy import ConnectProxy
from tests.support.silent_address import silent_address

#: Far more than any answer takes.
AMPLE_S = 30.0


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    """A proxy of this machine."""
    with ConnectProxy() as opened:
        yield opened


@pytest.fixture
def echo() -> Iterator[str]:
    """``HOST:PORT`` of a server that says what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(client.recv(100))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def failure(proxy: ConnectProxy | str, seconds: float = AMPLE_S) -> ProxyFailed:
    """The error of a connection to ``host.example:443``."""
    with pytest.raises(ProxyFailed) as caught:
        connect_through(parse_proxy(str(proxy), "x"), "host.example", 443, seconds)
    return caught.value


def test_bytes_pass_both_ways(proxy: ConnectProxy, echo: str) -> None:
    """What is left of the time is for TLS; the proxy heard host and port, and no password."""
    host, _, port = echo.rpartition(":")
    with connect_through(parse_proxy(proxy.url, "x"), host, int(port), AMPLE_S) as opened:
        assert 0 < (opened.gettimeout() or 0) <= AMPLE_S
        opened.sendall(b"hello")
        assert opened.recv(100) == b"hello"
    assert proxy.heads == [f"CONNECT {echo} HTTP/1.1\r\nHost: {echo}\r\n\r\n".encode()]


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("host.example", "host.example:443"),
        ("host.example.", "host.example.:443"),
        ("bücher.example", "xn--bcher-kva.example:443"),
        ("under_score", "under_score:443"),
        ("2001:db8::1", "[2001:db8::1]:443"),
    ],
)
def test_names_are_sent_as_they_are(proxy: ConnectProxy, host: str, sent: str) -> None:
    """Nothing is looked up here; only names beyond ASCII are encoded, as in a look-up."""
    proxy.reply = b"HTTP/1.1 200 OK\r\n\r\n"

    def resolve(name: str, port: int, *_: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        assert name == "proxy.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", proxy.address)]

    at = parse_proxy(f"proxy.example:{proxy.address[1]}", "x")
    connect_through(at, host, 443, AMPLE_S, resolve=resolve).close()
    assert proxy.asked == [sent]


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "", "a..ö", "a\r\nX: y"])
def test_hosts_that_are_none(proxy: ConnectProxy, host: str) -> None:
    """Nothing is sent."""
    with pytest.raises(UnicodeError):
        connect_through(parse_proxy(proxy.url, "x"), host, 443, AMPLE_S)
    assert not proxy.heads


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_ways_to_say_yes(proxy: ConnectProxy, reply: bytes) -> None:
    """Every 2xx (RFC 9110 §9.3.6); what it says of a body is passed over, as are 1xx answers."""
    proxy.reply = reply
    connect_through(parse_proxy(proxy.url, "x"), "host.example", 443, AMPLE_S).close()


@pytest.mark.parametrize(
    ("reply", "said", "at_proxy", "lasting"),
    [
        (
            b"HTTP/1.1 407 P\r\nProxy-Authenticate: Basic realm=x\r\n\r\n",
            "it wants a name and a password (407); write them into the profile: "
            'proxy = "http://NAME:PASSWORD@{proxy}"',
            True,
            True,
        ),
        (
            b"HTTP/1.1 407 P\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate:NTLM\r\n\r\n",
            "it wants NTLM or Negotiate (407), and backlotfs knows Basic only; "
            "ask its owner for a way with Basic or without a password",
            True,
            True,
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nSIGN",
            "it does not allow a connection to host.example:443 (403); "
            "ask its owner to allow CONNECT to that host and port; many allow port 443 only",
            False,
            True,
        ),
        (
            b"HTTP/1.1 405 Method Not Allowed\r\n\r\n",
            "it does not know CONNECT (405); is it an HTTP proxy?",
            True,
            True,
        ),
        (
            b"HTTP/1.1 502 SIGN\r\n\r\n<html>SIGN</html>",
            "it cannot reach host.example:443 (502); is the name of that host right, and is it up?",
            False,
            False,
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://login/SIGN\r\n\r\n",
            "it answers 302 to CONNECT host.example:443; ask its owner why",
            False,
            False,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nSIGN",
            "it sends a page instead of connecting; "
            "is it an HTTP proxy, and does it want a login in a browser?",
            True,
            False,
        ),
        (
            b"SSH-2.0-OpenSSH_9\r\n",
            "it does not answer as an HTTP proxy; is its address right?",
            True,
            False,
        ),
        (
            b"HTTP/2 200\r\n\r\n",
            "it does not answer as an HTTP proxy; is its address right?",
            True,
            False,
        ),
        (
            b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * MAX_HEAD_BYTES,
            "it does not answer as an HTTP proxy; is its address right?",
            True,
            False,
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_HEAD_BYTES,
            "it does not answer as an HTTP proxy; is its address right?",
            True,
            False,
        ),
    ],
)
def test_other_answers(
    proxy: ConnectProxy, reply: bytes, said: str, at_proxy: bool, lasting: bool
) -> None:
    """Each names the proxy, what is wrong and what to do, and shows nothing else of the answer."""
    proxy.reply = reply
    error = failure(proxy)
    assert str(error) == f"proxy {proxy}: {said.format(proxy=proxy)}"
    assert (error.at_proxy, error.lasting) == (at_proxy, lasting)


def test_a_refused_password(proxy: ConnectProxy) -> None:
    """It is sent, and never shown."""
    proxy.reply = b"HTTP/1.1 407 P\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"
    error = failure(f"http://name:SECRET@{proxy}")
    assert str(error) == (
        f"proxy {proxy}: it refuses the name and the password (407); "
        "correct them in `proxy` of the profile, or in BACKLOT_PROXY"
    )
    assert b"\r\nProxy-Authorization: Basic bmFtZTpTRUNSRVQ=\r\n" in proxy.heads[0]


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nX-"])
def test_silence(proxy: ConnectProxy, reply: bytes) -> None:
    """It may be waiting for the host, so it is not the proxy that is blamed."""
    proxy.reply = reply
    error = failure(proxy, 0.5)
    assert str(error) == (
        f"proxy {proxy}: its answer to CONNECT host.example:443 did not come in time; "
        "is that host up, and can the proxy reach it?"
    )
    assert not error.at_proxy


def test_an_answer_drop_by_drop_ends_in_time() -> None:
    """However many bytes come."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not over.wait(0.05):
                    try:
                        client.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        began_s = time.monotonic()
        error = failure(f"127.0.0.1:{listener.getsockname()[1]}", 1.0)
        assert time.monotonic() - began_s < 15
        over.set()
        thread.join()
    assert "did not come in time" in str(error)


def test_a_proxy_that_hangs_up(proxy: ConnectProxy) -> None:
    """Before it has said anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        error = failure(f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert "it ends the connection without an answer; is it an HTTP proxy?" in str(error)
    assert error.at_proxy


def test_a_proxy_that_is_not_there() -> None:
    """Refused, silent, or without a name that resolves."""
    remedy = "is its address right, and is it running?"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
    error = failure(place)
    assert str(error) == f"proxy {place}: it refuses the connection; {remedy}"
    assert error.at_proxy
    assert not error.lasting
    with silent_address("127.0.0.2") as (host, port):
        assert f"no connection came about in time; {remedy}" in str(failure(f"{host}:{port}", 0.5))

    def unknown(*_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(ProxyFailed, match=r"proxy p\.example:1: its name does not resolve"):
        connect_through(parse_proxy("p.example:1", "x"), "h", 1, AMPLE_S, resolve=unknown)


def test_a_dead_address_of_the_proxy_costs_a_moment(proxy: ConnectProxy) -> None:
    """As of every other host."""
    proxy.reply = b"HTTP/1.1 200 OK\r\n\r\n"
    port = proxy.address[1]

    def resolve(*_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        hosts = ("127.0.0.2", "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    with silent_address("127.0.0.2", port):
        at = parse_proxy(f"two.example:{port}", "x")
        with connect_through(at, "h", 443, AMPLE_S, resolve=resolve) as opened:
            assert (opened.gettimeout() or 0) > AMPLE_S / 2


@pytest.mark.parametrize(
    ("api", "host", "allowed"),
    [
        ("https://api.example", "media.example", True),
        ("https://api.example", "93.184.216.34", True),
        ("https://api.example", "10.0.0.1", False),
        ("https://api.example", "127.0.0.1", False),
        ("https://api.example", "2130706433", False),
        ("https://api.example", "0177.1", False),
        ("https://api.example", "0x7f.1", False),
        ("https://api.example", "\uff11\uff12\uff17.0.0.1", False),
        ("https://api.example", "::ffff:127.0.0.1", False),
        ("https://api.example", "localhost", False),
        ("https://api.example", "a.LOCALHOST.", False),
        ("https://api.example", "ip6-localhost", False),
        ("https://api.example", "169.254.169.254", False),
        ("https://api.example", "metadata.google.internal", False),
        ("http://127.0.0.1:1", "127.0.0.1", True),
        ("http://127.0.0.1:1", "localhost", True),
        ("http://localhost:1", "10.0.0.1", True),
        ("http://10.0.0.1", "10.0.0.2", True),
        ("http://10.0.0.1", "127.0.0.1", False),
        ("http://127.0.0.1:1", "169.254.169.254", False),
    ],
)
def test_which_hosts_a_proxy_is_asked_for(
    proxy: ConnectProxy, api: str, host: str, allowed: bool
) -> None:
    """What the name itself says is checked; what it resolves to, only the proxy knows."""
    proxy.reply = b"HTTP/1.1 200 OK\r\n\r\n"
    door = Dialer(SourcePolicy.of(api), client_context, proxy=parse_proxy(proxy.url, "x"))
    if allowed:
        door.connect("http", host, 80, timeout_s=AMPLE_S).close()
    else:
        with pytest.raises(SourceRefused, match="allow_source_hosts"):
            door.connect("http", host, 80, timeout_s=AMPLE_S)
    assert len(proxy.asked) == allowed


def test_an_address_of_the_proxy_that_hangs_is_tried_last(proxy: ConnectProxy) -> None:
    """It takes connections, and answers none."""
    proxy.reply = b"HTTP/1.1 200 OK\r\n\r\n"
    port = proxy.address[1]

    def resolve(*_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        hosts = ("127.0.0.2", "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    with socket.create_server(("127.0.0.2", port)):
        at = parse_proxy(f"hanging.example:{port}", "x")
        with pytest.raises(ProxyFailed, match="did not come in time"):
            connect_through(at, "h", 443, 0.5, resolve=resolve)
        connect_through(at, "h", 443, AMPLE_S, resolve=resolve).close()
