# SPDX-License-Identifier: Apache-2.0
"""What is checked is what is connected to, whatever a name says the next time."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from backlotfs.api.transport import open_session
from backlotfs.errors import SettingsError
from backlotfs.http.address_policy import SourcePolicy, SourceRefused
from backlotfs.http.connecting import Resolve
from backlotfs.http.dialer import Dialer, client_context
from tests.unit.http.raw_server import RawServer, ok

API = "https://api.example"
TlsServer = Callable[[str], int]


def scripted(*answers: list[str]) -> tuple[Resolve, list[str]]:
    """A resolver that gives the next addresses at each question, the last for ever; and its log."""
    waiting, asked = list(answers), list[str]()

    def resolve(
        host: str, port: int, *_: int
    ) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        asked.append(host)
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [
            (
                socket.AF_INET6 if ":" in at else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (at, port),
            )
            for at in found
        ]

    return resolve, asked


def dialer(resolve: Resolve, *allowed: str) -> Dialer:
    """To sources of an API that is far away."""
    return Dialer(SourcePolicy.of(API, allowed), client_context, resolve=resolve)


@pytest.fixture
def authority() -> trustme.CA:
    """Somebody's own certificate authority."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """Its certificate, as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[TlsServer]:
    """Starts servers that prove a name; each shakes hands once and answers one request."""
    threads: list[threading.Thread] = []

    def start(name: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener, listener.accept()[0] as raw:
                try:
                    with context.wrap_socket(raw, server_side=True) as spoken:
                        spoken.recv(4096)
                        spoken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                except OSError:
                    return  # the client did not like us

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(5)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LOCALHOST.", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "::1",
     "0", "0.0.0.0", "::ffff:127.0.0.1", "169.254.169.254", "::ffff:a9fe:a9fe"],
)  # fmt: skip
def test_ways_to_say_here(host: str) -> None:
    """However it is spelt, the system's own resolver says what it means, and that is refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        door = Dialer(SourcePolicy("93.184.216.34"), client_context)
        with pytest.raises((SourceRefused, socket.gaierror)):
            door.connect("http", host, listener.getsockname()[1], timeout_s=2)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_name_that_changes_its_mind() -> None:
    """DNS rebinding: it is asked once per connection, and what was checked is connected to."""
    with RawServer(ok(b"abcd")) as server:
        port = int(server.url.rpartition(":")[2])
        resolve, asked = scripted(["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34"])
        resolve("rebinding.example", port)  # what a check before the connection would see
        with pytest.raises(SourceRefused, match=r"127\.0\.0\.1"):
            dialer(resolve).connect("http", "rebinding.example", port, timeout_s=2)
        # the second question is for the API's own addresses, which might vouch for it
        assert asked == ["rebinding.example", "rebinding.example", "api.example"]
        assert not server.requests


def test_only_the_addresses_that_may_be_are_tried() -> None:
    """A name with a forbidden and an allowed address is served by the allowed one."""
    with RawServer(ok(b"abcd")) as server:
        port = int(server.url.rpartition(":")[2])
        resolve, _ = scripted(["169.254.169.254", "127.0.0.2", "127.0.0.1"])
        connection = dialer(resolve, "127.0.0.1").connect("http", "mixed", port, timeout_s=2)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"abcd"
        assert connection.sock is not None
        assert connection.sock.getpeername()[0] == "127.0.0.1"
        connection.close()


def test_the_next_address_is_tried() -> None:
    """Happens with IPv6 addresses where there is no IPv6; the last failure is what is told."""
    with RawServer(ok(b"abcd")) as server:
        port = int(server.url.rpartition(":")[2])
        resolve, _ = scripted(["127.0.0.9", "127.0.0.1"])
        dialer(resolve, "127.0.0.0/8").connect("http", "h", port, timeout_s=2).close()
    with pytest.raises(ConnectionRefusedError):
        dialer(resolve, "127.0.0.0/8").connect("http", "h", port, timeout_s=2)


def test_the_time_is_for_all_addresses_together() -> None:
    """A host of a hundred dead addresses costs no more than one."""
    resolve, _ = scripted(["127.0.0.1"] * 100)
    with pytest.raises(TimeoutError):
        dialer(resolve, "127.0.0.1").connect("http", "h", 1, timeout_s=0)


def test_names_without_addresses() -> None:
    """The resolver's own error, and one of ours where it finds nothing."""
    with pytest.raises(socket.gaierror):
        dialer(scripted([])[0]).connect("http", "h", 80, timeout_s=2)

    def nothing(*_: object) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        return []

    with pytest.raises(OSError, match="no address"):
        dialer(nothing).connect("http", "h", 80, timeout_s=2)


def test_an_api_that_does_not_resolve_vouches_for_nothing() -> None:
    """Until it does; then it is not looked up again."""
    resolve, asked = scripted(["127.0.0.1"], [], ["127.0.0.1"])
    door = dialer(resolve)
    with pytest.raises(SourceRefused):
        door.connect("http", "h", 1, timeout_s=2)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            door.connect("http", "h", 1, timeout_s=2)
    assert asked == ["h", "api.example", "h", "api.example", "h"]


def test_tls_with_an_authority_of_ones_own(tls_server: TlsServer, bundle: str) -> None:
    """The name in the URL is the one that is proved, its last dot aside; TLS is at least 1.2."""
    context = client_context(bundle)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    door = Dialer(
        SourcePolicy.of(API, ["*.example"]), lambda: context, resolve=scripted(["127.0.0.1"])[0]
    )
    for host in ("origin.example", "origin.example."):
        port = tls_server("origin.example")
        connection = door.connect("https", host, port, timeout_s=5)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
        connection.close()


@pytest.mark.parametrize("trusting", [True, False])
def test_tls_that_proves_nothing(tls_server: TlsServer, bundle: str, trusting: bool) -> None:
    """Another name, or an authority that nobody trusts here."""
    context = client_context(bundle if trusting else None)
    door = Dialer(
        SourcePolicy.of(API, ["*.example"]), lambda: context, resolve=scripted(["127.0.0.1"])[0]
    )
    port = tls_server("other.example" if trusting else "origin.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        door.connect("https", "origin.example", port, timeout_s=5)


def test_the_api_side_trusts_the_same(tls_server: TlsServer, bundle: str) -> None:
    """A session verifies by the same context: the system's authorities or one's own."""
    with open_session(user_agent="t", pool_size=1, ca_bundle=bundle) as session:
        port = tls_server("localhost")
        assert session.get(f"https://localhost:{port}/", timeout=5).text == "ok"
        port = tls_server("other.example")
        with pytest.raises(OSError, match=r"CERTIFICATE_VERIFY_FAILED|Hostname mismatch"):
            session.get(f"https://localhost:{port}/", timeout=5)
    with open_session(user_agent="t", pool_size=1) as session:
        port = tls_server("localhost")
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            session.get(f"https://localhost:{port}/", timeout=5, verify=False)


def test_bundles_that_are_none(tmp_path: Path) -> None:
    """A settings error now, not an odd failure at the first request."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(SettingsError, match=r"absent\.pem: No such file"):
        client_context(str(tmp_path / "absent.pem"))
    with pytest.raises(SettingsError, match=r"empty\.pem: holds no certificate"):
        client_context(str(empty))


def test_a_system_without_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a small container: those that come with requests stand in."""
    monkeypatch.setattr("backlotfs.http.dialer.os.path.exists", lambda _path: False)
    assert client_context.__wrapped__().cert_store_stats()["x509_ca"] > 50
