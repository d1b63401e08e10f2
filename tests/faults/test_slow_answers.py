# SPDX-License-Identifier: Apache-2.0
"""Hosts that send something all the time and never finish: each exchange ends in time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backlotfs.api.transport import Transport, open_session
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.errors import HostUnreachable, RemoteUnavailable
from backlotfs.http import exchange
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.dialer import Dialer, client_context
from backlotfs.http.pool import ConnectionPool
from backlotfs.source.preview_images import PreviewImages
from tests.support.deadlines import wait_until
from tests.support.hostile_host import TORMENTS, HostileHost
from tests.support.long_runs import few_of

#: What an exchange is given, and when it must be over: ample, for a busy machine.
LIMIT_S, SLACK_S = 1.0, 8.0
KINDS = sorted(TORMENTS)
HTTP_KINDS = [kind for kind in KINDS if kind != "tls"]
POLICY = SourcePolicy.of("http://127.0.0.1", ["*.example"])


@pytest.fixture
def host() -> Iterator[HostileHost]:
    """There is nothing behind it."""
    with HostileHost("http://127.0.0.1:9") as opened:
        yield opened


@contextlib.contextmanager
def connection_pool(resolve: Any = None) -> Iterator[ConnectionPool]:
    """A pool as a mount has."""
    pool = ConnectionPool(Dialer(POLICY, client_context, resolve=resolve), user_agent="t")
    with contextlib.closing(pool):
        yield pool


def source_get(url: str) -> None:
    """As a probe does."""
    with (
        connection_pool() as pool,
        pool.get(url, ByteRange(0, 4096), timeout_s=LIMIT_S) as answer,
    ):
        answer.read(4096)


def source_read(url: str) -> None:
    """As a transfer does: head and body have the same end."""
    until_s = time.monotonic() + LIMIT_S
    room = memoryview(bytearray(4096))
    filled = 0
    with (
        connection_pool() as pool,
        pool.get(url, ByteRange(0, 4096), timeout_s=LIMIT_S) as answer,
    ):
        while filled < len(room):
            count = answer.read_into([room[filled:]], until_s - time.monotonic())
            if not count:
                raise RemoteUnavailable(f"source host {answer.host}: ended early")
            filled += count


def api_get(url: str, seconds: float = LIMIT_S) -> None:
    """As the API client does."""
    clock = SystemClock()
    with open_session(user_agent="t", pool_size=1) as session:
        Transport(session, clock).get(
            f"{url}?signature=SIGN",
            host="h",
            route="/v2/assets",
            deadline=Deadline(seconds, clock),
        )


def preview_get(url: str) -> None:
    """As the maker of thumbnails does."""
    clock = SystemClock()
    with connection_pool() as pool:
        previews = PreviewImages(pool, clock, POLICY, RetryPolicy(max_attempts=1))
        previews.fetch(f"{url}/image.jpg", Deadline(LIMIT_S, clock))


def failure_of(call: Callable[[str], None], url: str) -> str:
    """The text of its error, which has to come in time."""
    began_s = time.monotonic()
    with pytest.raises(Exception) as caught:  # noqa: PT011  # which of them is asserted by callers
        call(url)
    assert time.monotonic() - began_s < LIMIT_S + SLACK_S
    assert type(caught.value).__name__ in (
        "RemoteUnavailable",
        "AnswerTimedOut",
        "HostUnreachable",
        "DeadlineExceeded",
        "SourceDenied",
    ), repr(caught.value)
    assert "SIGN" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", few_of(HTTP_KINDS, *HTTP_KINDS[::4]))
@pytest.mark.parametrize("call", [source_get, source_read, api_get, preview_get])
def test_an_exchange_ends_at_its_time_limit(
    host: HostileHost, kind: str, call: Callable[[str], None]
) -> None:
    """Bytes come faster than any single wait is allowed to last, and it is over all the same."""
    host.torment(kind)
    failure_of(call, host.url)
    wait_until(lambda: host.tormented == 1, "the host to have had the request")


@pytest.mark.parametrize("call", [source_get, api_get])
def test_a_tls_handshake_that_never_ends(host: HostileHost, call: Callable[[str], None]) -> None:
    """It counts as no connection."""
    host.torment("tls")
    began_s = time.monotonic()
    with pytest.raises(HostUnreachable):
        call(host.url.replace("http:", "https:"))
    assert time.monotonic() - began_s < LIMIT_S + SLACK_S


def hanging(asked: threading.Event) -> Callable[..., Any]:
    """A resolver that never answers."""

    def resolve(*_: object) -> Any:
        asked.set()
        threading.Event().wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "late")

    return resolve


def test_a_name_that_never_resolves_holds_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """On both sides the look-up is given up in time."""
    asked = threading.Event()
    began_s = time.monotonic()
    with connection_pool(hanging(asked)) as pool, pytest.raises(HostUnreachable):
        pool.get("http://a.example/x", ByteRange(0, 1), timeout_s=1.0)
    assert asked.is_set()
    asked.clear()
    monkeypatch.setattr(socket, "getaddrinfo", hanging(asked))
    with pytest.raises(HostUnreachable):
        api_get("http://a.example/x")
    assert asked.is_set()
    assert time.monotonic() - began_s < LIMIT_S + 1.0 + SLACK_S


def test_a_head_that_began_has_its_own_short_time(
    host: HostileHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the caller would wait for minutes: the thread is free again soon."""
    monkeypatch.setattr(exchange, "HEAD_TIMEOUT_S", 1.0)
    host.torment("head")
    began_s = time.monotonic()
    with (
        connection_pool() as pool,
        pytest.raises(RemoteUnavailable, match="did not come in time"),
    ):
        pool.get(host.url, ByteRange(0, 1), timeout_s=600.0)
    with pytest.raises(RemoteUnavailable, match="did not answer in time"):
        api_get(host.url, 600.0)
    assert time.monotonic() - began_s < 2.0 + 2 * SLACK_S


def test_a_silent_exchange_can_be_cut(host: HostileHost) -> None:
    """By another thread, long before any time limit."""
    host.torment("silence")
    began_s = time.monotonic()
    cut = exchange.Exchange(600.0)
    threading.Timer(0.5, cut.cut).start()
    with connection_pool() as pool, pytest.raises(RemoteUnavailable, match="did not come in time"):
        pool.get(host.url, ByteRange(0, 1), exchange=cut)
    wait_until(lambda: host.tormented == 1, "the host to have had the request")
    assert time.monotonic() - began_s < SLACK_S


def test_a_kept_alive_connection_is_watched_too() -> None:
    """It was good for the first answer and drips at the second; nothing is tried a third time."""
    seen = []
    with connection_pool() as pool, socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 206 OK\r\nContent-Length: 1\r\n\r\nA")
                client.recv(65536)
                seen.append("second")
                for _ in range(600):
                    client.sendall(b"H")
                    time.sleep(0.1)

        threading.Thread(target=lambda: _quietly(serve), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a"
        with pool.get(url, ByteRange(0, 1), timeout_s=LIMIT_S) as answer:
            assert answer.read(10) == b"A"
        began_s = time.monotonic()
        with pytest.raises(RemoteUnavailable):
            pool.get(url, ByteRange(0, 1), timeout_s=LIMIT_S)
        assert time.monotonic() - began_s < LIMIT_S + SLACK_S
        assert seen == ["second"]


def _quietly(serve: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        serve()
