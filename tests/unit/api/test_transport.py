# SPDX-License-Identifier: Apache-2.0
"""One exchange over real sockets: keep-alive, broken and slow answers, words for each failure."""

from __future__ import annotations

import contextlib
import errno
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
import requests
import urllib3

from backlotfs.api.answers import Answer
from backlotfs.api.transport import MOST_HANGING, Transport, explain, open_session
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import (
    BacklotError,
    DeadlineExceeded,
    HostUnreachable,
    LastingFailure,
    RemoteUnavailable,
)
from tests.fakes.clocks import ManualClock

Serve = Callable[[list[bytes]], str]


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """A session that is closed."""
    with open_session(user_agent="test/1", pool_size=1) as opened:
        yield opened


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a one-connection server: one answer of raw bytes per request, then it closes."""
    threads: list[threading.Thread] = []

    def start(answers: list[bytes]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=_play, args=(listener, answers), daemon=True)
        thread.start()
        threads.append(thread)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v2/assets?signature=SIGN"

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def _play(listener: socket.socket, answers: list[bytes]) -> None:
    with listener:
        peer, _ = listener.accept()
    with peer:
        for answer in answers:
            request = b""
            # a TLS greeting has no such end: it is answered at once
            while not request.endswith(b"\r\n\r\n") and not request.startswith(b"\x16\x03"):
                received = peer.recv(65536)
                if not received:
                    return
                request += received
            peer.sendall(answer)


def get(session: requests.Session, url: str, seconds: float = 10.0) -> Answer:
    """One fetch with so much time."""
    clock = SystemClock()
    return Transport(session, clock).get(
        url, host="h", route="/v2/assets", deadline=Deadline(seconds, clock)
    )


def failure(session: requests.Session, url: str) -> BacklotError:
    """The error of one fetch, which holds nothing of the URL's query."""
    with pytest.raises(RemoteUnavailable) as caught:
        get(session, url)
    assert caught.value.__context__ is None
    assert "SIGN" not in str(caught.value)
    return caught.value


def test_connection_is_kept_alive(session: requests.Session, serve: Serve) -> None:
    """Two answers, one with a length and one in chunks, come over one connection."""
    url = serve(
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n",
        ]
    )
    first, second = get(session, url), get(session, url)
    assert (first.status, first.body) == (200, b"{}")
    assert (second.status, second.body) == (404, b"[]")


def test_an_answer_is_not_taken_for_the_next_one(session: requests.Session, serve: Serve) -> None:
    """What stands in front of an answer (1xx) is passed over: else each call gets another's."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    early += b"HTTP/1.1 100 Continue\r\n\r\n"
    first = early + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]"
    url = serve([first, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[2]"])
    answers = [get(session, url), get(session, url)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"[1]"), (200, b"[2]")]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "h broke the connection off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "h broke the connection off"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
            "h broke the connection off",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "h does not speak proper HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
            "h sent a damaged compressed answer",
        ),
    ],
)
def test_broken_answers(session: requests.Session, serve: Serve, answer: bytes, words: str) -> None:
    """Each way of breaking off has its words and may be tried again."""
    error = failure(session, serve([answer]))
    assert str(error) == words
    assert not isinstance(error, LastingFailure)


def test_refused_connection(session: requests.Session) -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert str(failure(session, f"http://127.0.0.1:{port}/?x=SIGN")) == "h refused the connection"


def test_plain_http_where_tls_was_meant(session: requests.Session, serve: Serve) -> None:
    """TLS against a server without it is named as such."""
    url = serve([b"HTTP/1.1 400 Bad Request\r\n\r\n"]).replace("http://", "https://")
    assert str(failure(session, url)).startswith(
        "h answers without TLS: this port speaks plain http"
    )


def test_a_silent_server_costs_the_deadline_and_no_more(session: requests.Session) -> None:
    """A server that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/?x=SIGN"
        with pytest.raises(RemoteUnavailable, match=r"^h did not answer in time$"):
            get(session, url, seconds=0.2)


def test_a_trickle_cannot_outlast_the_deadline(session: requests.Session) -> None:
    """Bytes that keep coming reset the read timeout; the deadline still ends it."""
    stop = threading.Event()
    clock = ManualClock()

    def drip(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not stop.wait(0.01):
                clock.sleep(0.5)
                try:
                    peer.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(DeadlineExceeded, match="the answer of h"):
            Transport(session, clock).get(url, host="h", route="/", deadline=Deadline(20.0, clock))
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("host", ["x" * 64 + ".example", "a..b", "\udcff", "*.example"])
def test_odd_hosts(session: requests.Session, host: str) -> None:
    """A name that cannot be one fails for good, whatever the library makes of it."""
    assert isinstance(failure(session, f"http://{host}/?x=SIGN"), LastingFailure)


def _certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "SIGN")
    error.verify_message = "certificate has expired"
    return error


def _nested(cause: Exception) -> requests.ConnectionError:
    """As requests and urllib3 nest what happened."""
    pool = urllib3.HTTPConnectionPool("h")
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(pool, "/?SIGN", cause))


@pytest.mark.parametrize(
    ("cause", "words", "lasting"),
    [
        (
            _certificate_error(),
            "the certificate of h is not trusted: certificate has expired",
            True,
        ),
        (ssl.SSLError(1, "SIGN"), "TLS with h failed", False),
        (socket.gaierror(socket.EAI_NONAME, "SIGN"), "host name h does not resolve", True),
        (
            socket.gaierror(socket.EAI_AGAIN, "SIGN"),
            "host name h does not resolve at the moment",
            False,
        ),
        (UnicodeError("SIGN"), "h is not a usable host name", True),
        (ConnectionRefusedError(), "h refused the connection", False),
        (OSError(errno.EHOSTUNREACH, "SIGN"), "there is no route to h", False),
        (OSError(errno.ENETUNREACH, "SIGN"), "there is no route to h", False),
        (urllib3.exceptions.ConnectTimeoutError("SIGN"), "connecting to h timed out", False),
        (TimeoutError("SIGN"), "h did not answer in time", False),
        (ConnectionResetError("SIGN"), "h broke the connection off", False),
        (http.client.BadStatusLine("SIGN"), "h does not speak proper HTTP", False),
        (urllib3.exceptions.ProtocolError("SIGN"), "h broke the connection off", False),
        (OSError("SIGN"), "the request to h failed (ConnectionError)", False),
    ],
)
def test_words_for_each_failure(cause: Exception, words: str, lasting: bool) -> None:
    """The most telling exception in the nest decides; its own text is never shown."""
    found = explain(_nested(cause), "h")
    assert (str(found), isinstance(found, LastingFailure)) == (words, lasting)


@pytest.mark.parametrize(
    ("cause", "named"),
    [
        (socket.gaierror(socket.EAI_NONAME, "SIGN"), True),
        (ConnectionRefusedError(), True),
        (OSError(errno.ENETUNREACH, "SIGN"), True),
        (urllib3.exceptions.ConnectTimeoutError("SIGN"), True),
        (TimeoutError("SIGN"), False),
        (ConnectionResetError("SIGN"), False),
        (_certificate_error(), False),
        (UnicodeError("SIGN"), False),
    ],
)
def test_an_ignored_proxy_is_named(
    cause: Exception, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its variable only, and where no connection came about."""
    monkeypatch.setenv("https_proxy", "http://user:SIGN@proxy")
    monkeypatch.setenv("no_proxy", "i")
    said = str(explain(_nested(cause), "h:443"))
    assert ("; https_proxy is set, but is not used: if h is behind that proxy" in said) is named
    assert "SIGN" not in said
    assert "https_proxy" not in str(explain(_nested(cause), "i:443"))


@pytest.mark.parametrize(
    ("cause", "connected"),
    [
        (_certificate_error(), False),
        (ConnectionRefusedError(), False),
        (socket.gaierror(socket.EAI_AGAIN, "SIGN"), False),
        (urllib3.exceptions.ConnectTimeoutError("SIGN"), False),
        (TimeoutError("SIGN"), True),
        (ConnectionResetError("SIGN"), True),
        (OSError("SIGN"), True),
    ],
)
def test_whether_there_was_a_connection(cause: Exception, connected: bool) -> None:
    """A host is let rest only when it is sure that there was none."""
    assert isinstance(explain(_nested(cause), "h"), HostUnreachable) is not connected


def test_a_circle_of_causes_ends() -> None:
    """Exceptions that hold each other are looked at once."""
    first, second = OSError(), OSError()
    first.__cause__, second.__cause__ = second, first
    assert str(explain(first, "h")) == "the request to h failed (OSError)"


def test_with_a_proxy_no_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another proxy is in use, on purpose."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    error = _nested(ConnectionRefusedError())
    assert "https_proxy" in str(explain(error, "h"))
    assert "https_proxy" not in str(explain(error, "h", proxied=True))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_address_that_hangs_leaves_time_for_the_next(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """It takes the connection, and neither speaks TLS nor answers; the next one refuses."""
    look_up = socket.getaddrinfo

    def both(_host: str, *rest: int) -> object:
        return [*look_up("127.0.0.2", *rest), *look_up("127.0.0.1", *rest)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    # sends no HTTP and no TLS; a free port of the usual address is also free at the other one
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with socket.create_server(("127.0.0.2", port)):
            threading.Thread(target=_hang_up, args=(other,), daemon=True).start()
            url = f"{scheme}://{scheme}.hangs.example:{port}/"
            with pytest.raises(RemoteUnavailable, match=r"broke the connection off|TLS with"):
                get(session, url, seconds=60.0)


def _hang_up(listener: socket.socket) -> None:
    with listener.accept()[0] as peer:
        peer.recv(65536)


def test_a_slow_host_with_many_addresses_has_time(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address after some that seem to hang is waited for until the call's time is over."""
    look_up = socket.getaddrinfo
    places = [f"127.0.0.{number}" for number in range(2, 10)]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *rest: [i for at in places for i in look_up(at, *rest)]
    )
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(socket.create_server((places[0], 0)))
        port = first.getsockname()[1]
        others = [socket.create_server((place, port)) for place in places[1:]]
        all_of_them = [first, *map(opened.enter_context, others)]
        clock = SystemClock()
        with pytest.raises((RemoteUnavailable, DeadlineExceeded)):
            Transport(session, clock, TimeLimits(2.0)).get(
                f"http://slow.example:{port}/", host="h", route="/", deadline=Deadline(30, clock)
            )
        for listener in all_of_them:
            listener.setblocking(False)
        asked = [listener for listener in all_of_them if _was_connected_to(listener)]
        assert len(asked) == MOST_HANGING + 1


def _was_connected_to(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True
