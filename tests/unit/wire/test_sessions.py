"""Sessions carry nothing of the user's, and their library's log lines nothing of ours."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backlotfs.clock import Deadline, SystemClock
from backlotfs.errors import SettingsError
from backlotfs.wire.sessions import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    QueryRedactor,
    open_session,
    timeouts_s,
)


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
    thread = threading.Thread(target=server.serve_forever)
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


def test_library_log_lines_lose_their_queries(
    echo: tuple[str, type[_Echo]], caplog: pytest.LogCaptureFixture
) -> None:
    """At the most talkative level the host and path are there, and no signature."""
    caplog.set_level(logging.DEBUG)
    with open_session(user_agent="t", pool_size=1) as session:
        session.get(f"{echo[0]}/v2/assets?api_key=KEY&signature=SIGN")
    assert "/v2/assets?<redacted>" in caplog.text
    assert "SIGN" not in caplog.text


def test_redactor_keeps_the_rest_of_a_line() -> None:
    """Only queries go; a record with arguments and one without are both kept."""
    record = logging.LogRecord(
        "n", 10, "p", 1, "%s (url='%s') %d?", ("a", "http://h/p?X=1", 7), None
    )
    assert QueryRedactor().filter(record)
    assert record.getMessage() == "a (url='http://h/p?<redacted>') 7?"


def test_ca_file(tmp_path: Path) -> None:
    """One that cannot be read is a settings error now, not an odd failure at the first request."""
    with pytest.raises(SettingsError, match=r"absent\.pem"):
        open_session(user_agent="t", pool_size=1, ca_file=str(tmp_path / "absent.pem"))
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    with open_session(user_agent="t", pool_size=1, ca_file=str(bundle)) as session:
        assert session.verify == str(bundle)


def test_timeouts() -> None:
    """The constants, unless the deadline is nearer; never 0, which sockets refuse."""
    clock = SystemClock()
    assert timeouts_s(Deadline.never(clock)) == (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
    assert max(timeouts_s(Deadline(1.0, clock))) <= 1.0
    assert min(timeouts_s(Deadline(0.0, clock))) > 0
