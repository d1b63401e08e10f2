# SPDX-License-Identifier: Apache-2.0
"""The API's certificate: trusted, not trusted, ending soon."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from backlotfs.config.proxy import parse_proxy
from backlotfs.config.settings import Account
from backlotfs.doctor import CERTIFICATE_DAYS, Verdict, check_tls


@contextlib.contextmanager
def tls_host(authority: trustme.CA, *, days: int) -> Iterator[int]:
    """A port of this machine where one handshake is answered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ends = datetime.now(UTC) + timedelta(days=days, hours=1)
    authority.issue_cert("localhost", not_after=ends).configure_cert(context)
    with socket.create_server(("localhost", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):  # a client that trusts us not hangs up
                context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whom no system trusts."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """The file that ``--ca-bundle`` takes."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def account(port: int, ca_bundle: str | None = None) -> Account:
    """Of the library on that port."""
    return Account(f"https://localhost:{port}", "key", "secret", ca_bundle=ca_bundle)


def test_a_trusted_certificate(authority: trustme.CA, bundle: str) -> None:
    """Named with the days that it has left."""
    with tls_host(authority, days=90) as port:
        found = check_tls(account(port, bundle))
    assert found.verdict is Verdict.OK
    assert "for 90 days more" in found.detail


def test_one_that_ends_soon(authority: trustme.CA, bundle: str) -> None:
    """Before it takes the mount with it."""
    with tls_host(authority, days=CERTIFICATE_DAYS - 1) as port:
        found = check_tls(account(port, bundle))
    assert found.verdict is Verdict.NOTE
    assert f"ends in {CERTIFICATE_DAYS - 1} days" in found.detail


def test_one_that_nobody_trusts(authority: trustme.CA) -> None:
    """With the option that would change that."""
    with tls_host(authority, days=90) as port:
        found = check_tls(account(port))
    assert (found.verdict, found.exit_code) == (Verdict.FAILED, 4)
    assert "--ca-bundle" in (found.remedy or "")


def test_a_host_that_is_not_reached() -> None:
    """Each reason has its words; a name that cannot be one is no crash."""
    with socket.create_server(("localhost", 0)) as listener:
        port = listener.getsockname()[1]
    proxied = replace(account(443), proxy=parse_proxy(f"127.0.0.1:{port}", "x"))
    for chosen, said in (
        (Account("https://a..b", "key", "secret"), "a..b is not a usable host name"),
        (account(port), "localhost refused the connection"),
        (proxied, f"proxy 127.0.0.1:{port}: it refuses the connection"),
    ):
        found = check_tls(chosen)
        assert (found.verdict, found.exit_code) == (Verdict.FAILED, 4)
        assert found.detail == said
        assert found.remedy
