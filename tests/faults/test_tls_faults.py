# SPDX-License-Identifier: Apache-2.0
"""A source host that cannot prove who it is: EIO, and not one request reaches it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from backlotfs.emulator import Emulator, Fault
from backlotfs.errors import HostUnreachable
from backlotfs.http import pool
from backlotfs.http.address_policy import SourceRefused
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.support.made_assets import video
from tests.support.request_log import ended_requests
from tests.support.tls_front import TlsFront
from tests.support.unmounted_library import UnmountedLibrary

#: One block: one GET at a time, nothing is read ahead.
REEL = video("reel.mov", 60_000)
NAME = "localhost"
AUTHORITY, STRANGER = trustme.CA(), trustme.CA()
NOW = datetime.now(UTC)
YEAR = timedelta(days=365)


class Untrusted(NamedTuple):
    """A certificate that proves nothing, and what of the reason is said."""

    make: Callable[[], trustme.LeafCert]
    says: str


UNTRUSTED = {
    "expired": Untrusted(
        lambda: AUTHORITY.issue_cert(NAME, not_before=NOW - YEAR, not_after=NOW - timedelta(1)),
        "expired",
    ),
    "not valid yet": Untrusted(
        lambda: AUTHORITY.issue_cert(NAME, not_before=NOW + timedelta(2), not_after=NOW + YEAR),
        "not yet valid",
    ),
    "of another host": Untrusted(lambda: AUTHORITY.issue_cert("other.example"), "not valid for"),
    "of an authority nobody knows": Untrusted(lambda: STRANGER.issue_cert(NAME), "issuer"),
}


@pytest.fixture
def front() -> Iterator[TlsFront]:
    """TLS, with a certificate that is right."""
    with TlsFront() as found:
        found.show(AUTHORITY.issue_cert(NAME))
        yield found


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    """The authority that is trusted, and no other."""
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


def behind(front: TlsFront, serve: Serve) -> Emulator:
    """An emulator whose sources are fetched through it."""
    emulator = serve(REEL, source_base_url=front.url)
    front.stand_before(emulator.api_url)
    return emulator


def asked(library: UnmountedLibrary) -> int:
    """Requests that the source host has heard."""
    return len(ended_requests(library.emulator, route="source"))


@pytest.mark.parametrize("name", UNTRUSTED)
def test_a_host_that_proves_nothing_gets_no_request(
    serve: Serve, unmounted: Unmounted, front: TlsFront, bundle: str, name: str
) -> None:
    """For stat and for the read of an open file: in words; once it is mended, every byte."""
    emulator = behind(front, serve)
    library = unmounted(emulator, ca_bundle=bundle)
    fh = library.open(REEL)
    heard, trusted = asked(library), front.trusted
    front.show(UNTRUSTED[name].make())
    with pytest.raises(
        HostUnreachable, match="localhost: its TLS certificate is not trusted: "
    ) as caught:
        library.read(fh, 0, 1000)
    assert caught.value.errno == errno.EIO
    assert UNTRUSTED[name].says in str(caught.value)
    assert (asked(library), front.trusted) == (heard, trusted)
    assert library.url_requests(REEL) == 1, "it is not the URL that is to blame"
    front.show(AUTHORITY.issue_cert(NAME))
    library.clock.jump(3)
    library.assert_reads(fh, REEL, 0, 1000)
    library.assert_whole(REEL)


def test_no_byte_goes_from_tls_to_the_open(
    serve: Serve, unmounted: Unmounted, front: TlsFront, bundle: str
) -> None:
    """A redirect from https to http is refused, even to the host that signs: EACCES."""
    emulator = behind(front, serve)
    library = unmounted(emulator, ca_bundle=bundle, allow_source_hosts=("localhost", "127.0.0.1"))
    fh = library.open(REEL)
    open_port = emulator.api_url.rpartition(":")[2]
    rule = emulator.faults.add(
        Fault.redirect(f"http://localhost:{open_port}/downgraded"), route="source"
    )
    with pytest.raises(SourceRefused, match="redirects") as caught:
        library.read(fh, 0, 1000)
    assert caught.value.errno == errno.EACCES
    assert rule.hits == 1
    assert [status for _, status in library.gets(REEL)] == [302]


def test_a_connection_that_is_kept_alive_is_trusted_no_longer_than_it_lives(
    serve: Serve,
    unmounted: Unmounted,
    front: TlsFront,
    bundle: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new connection proves itself anew: no session of before stands for it."""
    library = unmounted(behind(front, serve), ca_bundle=bundle)
    fh = library.open(REEL)
    monkeypatch.setattr(pool, "IDLE_TIMEOUT_S", -1.0)
    trusted = front.trusted
    library.assert_reads(fh, REEL, 0, 1000)
    assert front.trusted == trusted + 1
