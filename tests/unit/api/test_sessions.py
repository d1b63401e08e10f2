# SPDX-License-Identifier: Apache-2.0
"""The sessions of the API send nothing of the user's own: no cookies, no netrc, no proxies."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from backlotfs.api.session import ApiSession
from backlotfs.api.transport import explain, open_session, timeouts_s
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.config.proxy import parse_proxy
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import HostUnreachable, LastingFailure
from tests.support.connect_proxy import ConnectProxy


class _Echo(BaseHTTPRequestHandler):
    """Sets a cookie, points elsewhere, and keeps the headers that it was sent."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]
    clients: list[object]

    def do_GET(self) -> None:
        self.seen.append(dict(self.headers))
        self.clients.append(self.client_address)
        self.send_response(302)
        self.send_header("Location", "http://[")
        self.send_header("Set-Cookie", "spy=1; Path=/")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def echo() -> Iterator[tuple[str, type[_Echo]]]:
    """A server's URL and its handler, which remembers."""
    handler = type("Handler", (_Echo,), {"seen": [], "clients": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_nothing_of_the_users_is_sent(
    echo: tuple[str, type[_Echo]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No ``.netrc``, no proxy, no cookie that was set; a redirect is an answer like any other."""
    url, handler = echo
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with open_session(user_agent="backlotfs/test", pool_size=2) as session:
        for _ in range(2):
            assert session.get(url).status_code == 302
        assert not session.cookies
    assert [headers["User-Agent"] for headers in handler.seen] == ["backlotfs/test"] * 2
    for headers in handler.seen:
        assert not {"Authorization", "Cookie"} & headers.keys()
    assert len(set(handler.clients)) == 1, "the connection is kept alive"


def test_through_a_proxy(echo: tuple[str, type[_Echo]]) -> None:
    """The API's host gets the same as without one; the proxy gets the name, and its password."""
    url, handler = echo
    with ConnectProxy(
        places={"api.example:80": url.removeprefix("http://")}, credentials="name:word"
    ) as proxy:
        chosen = parse_proxy(f"http://name:word@{proxy}", "x")
        with open_session(user_agent="t", pool_size=1, proxy=chosen) as session:
            for _ in range(2):
                assert session.get("http://api.example/x", allow_redirects=False).text == "ok"
        assert proxy.asked == ["api.example:80"]
    for headers in handler.seen:
        assert headers["Host"] == "api.example"
        assert not {"Proxy-Authorization", "Authorization", "Proxy-Connection"} & headers.keys()


@pytest.mark.parametrize(
    ("reply", "said", "lasting"),
    [
        (b"HTTP/1.1 407 No\r\n\r\n", "it wants a name and a password (407)", True),
        (b"HTTP/1.1 403 No\r\n\r\n", "it does not allow a connection to api.example:443", True),
        (b"HTTP/1.1 503 No\r\n\r\n", "it cannot reach api.example:443 (503)", False),
    ],
)
def test_what_a_proxy_answers_is_said(
    reply: bytes, said: str, lasting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, not the API; a variable that is not used is no news then."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with ConnectProxy() as proxy:
        proxy.reply = reply
        chosen = parse_proxy(proxy.url, "x")
        with (
            open_session(user_agent="t", pool_size=1, proxy=chosen) as session,
            pytest.raises(requests.RequestException) as caught,
        ):
            session.get("https://api.example/?SIGN")
    failure = explain(caught.value, "api.example")
    assert str(failure).startswith(f"proxy {proxy}: {said}")
    assert isinstance(failure, LastingFailure) is lasting
    assert isinstance(failure, HostUnreachable)
    assert "https_proxy" not in str(failure)


def test_timeouts() -> None:
    """The limits, unless the deadline is nearer; never 0, which sockets refuse."""
    clock = SystemClock()
    limits = TimeLimits(60.0)
    assert timeouts_s(Deadline(1e9, clock), limits) == (limits.connect_s, 60.0)
    assert max(timeouts_s(Deadline(1.0, clock), limits)) <= 1.0
    assert min(timeouts_s(Deadline(0.0, clock), limits)) > 0


def test_the_first_call_makes_the_session(echo: tuple[str, type[_Echo]]) -> None:
    """Not the start: nothing is made before, and all threads share one session."""
    made: list[requests.Session] = []

    def make() -> requests.Session:
        time.sleep(0.05)  # time for the other threads to make one, too
        made.append(open_session(user_agent="t", pool_size=8))
        return made[-1]

    ApiSession(make).close()
    assert not made, "closed without a call"
    clock, url = SystemClock(), echo[0]

    def call(_number: int) -> int:
        transport = session.transport(clock, TimeLimits())
        return transport.get(url, host="h", route="/", deadline=Deadline(30, clock)).status

    with closing(ApiSession(make)) as session, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(call, range(16))) == [302] * 16
    assert len(made) == 1


_STACK = """
import sys
from pathlib import Path
import backlotfs.mount.serve
from backlotfs.concurrency.clock import SystemClock
from backlotfs.config.settings import Account, MountSettings
from backlotfs.mount.stack import build_stack

account = Account("https://api.example", "KEY.suffix", "s3cret")
build_stack(MountSettings(account, Path("/unused"), Path(sys.argv[1])), SystemClock()).close()
print({"requests", "urllib3"} & set(sys.modules))
"""


def test_a_mount_starts_without_the_library_of_the_calls(tmp_path: Path) -> None:
    """It takes a tenth of a second to import, and a mount with a saved listing answers before."""
    command = [sys.executable, "-c", _STACK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
