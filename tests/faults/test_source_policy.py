# SPDX-License-Identifier: Apache-2.0
"""Where sources may be and where they may send us: the whole stack, and what each host heard."""

from __future__ import annotations

import errno
import socket

import pytest

from backlotfs.emulator import Fault
from backlotfs.errors import HostUnreachable, InvalidRangeResponse, RemoteUnavailable
from backlotfs.http import pool
from backlotfs.http.address_policy import SourceRefused
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.support.made_assets import video
from tests.support.request_log import ended_requests

REEL = video("reel.mov", 300_000)
#: One block.
CLIP = video("clip.mov", 60_000)


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0", "[::]", "[::ffff:169.254.169.254]"])
def test_what_no_api_may_name(serve: Serve, unmounted: Unmounted, host: str) -> None:
    """Not even one on this machine: EACCES, with the file still listed and the remedy named."""
    emulator = serve(REEL, source_base_url=f"http://{host}:1")
    library = unmounted(emulator)
    with pytest.raises(SourceRefused, match="--allow-source-host") as caught:
        library.open(REEL)
    assert caught.value.errno == errno.EACCES
    assert library.names() == ["reel.mov"]
    assert not library.clock.slept_s, "no other attempt would be let through"


def test_a_public_api_cannot_send_us_inside(
    serve: Serve, unmounted: Unmounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API's name resolves to a public address: sources on this machine are refused."""
    real = socket.getaddrinfo

    def resolve(host: str, *args: int) -> object:
        return real("93.184.216.34" if host == "127.0.0.1" and args[0] == 0 else host, *args)

    emulator = serve(REEL)
    library = unmounted(emulator)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(SourceRefused, match=r"loopback address 127\.0\.0\.1"):
        library.open(REEL)
    assert library.probes(REEL) == 0, "nothing was sent"


def test_a_listed_host_may_serve_by_redirect(serve: Serve, unmounted: Unmounted) -> None:
    """The bytes come from there; the signed query of the first host does not go along."""
    emulator, elsewhere = serve(REEL), serve(REEL)
    library = unmounted(emulator, allow_source_hosts=("127.0.0.0/8",))
    target = elsewhere.source_url(REEL.embed_code)
    emulator.faults.add(Fault.redirect(target, 307), route="source")
    library.assert_whole(REEL)
    heard = ended_requests(elsewhere, route="source")
    assert heard
    assert all(entry.status == 206 for entry in heard)


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("file:///etc/passwd", InvalidRangeResponse),
        ("ftp://127.0.0.1/x", InvalidRangeResponse),
        ("http://user:pass@127.0.0.1/x", InvalidRangeResponse),
        ("http://169.254.169.254/latest/meta-data/", SourceRefused),
        ("http://127.0.0.1:1/x", SourceRefused),
        ("https://127.0.0.1/x", SourceRefused),
        ("//elsewhere.example/x", SourceRefused),
    ],
)
def test_redirects_that_are_not_followed(
    serve: Serve, unmounted: Unmounted, location: str, error: type[Exception]
) -> None:
    """Other schemes are nonsense (EIO); other hosts are refused (EACCES)."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    emulator.faults.add(Fault.redirect(location), route="source")
    with pytest.raises(error):
        library.read(fh, 0, 100)


def test_a_source_host_that_does_not_resolve(serve: Serve, unmounted: Unmounted) -> None:
    """In words, with EIO: nothing was refused, and nothing was asked."""
    emulator = serve(REEL, source_base_url="http://no-such-host.invalid")
    library = unmounted(emulator)
    with pytest.raises(RemoteUnavailable, match="does not resolve") as caught:
        library.open(REEL)
    assert caught.value.errno == errno.EIO
    assert ended_requests(emulator, route="source") == []
    assert library.url_requests(REEL) == 1


def test_a_source_host_that_resolves_no_more(
    serve: Serve, unmounted: Unmounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under an open file: EIO without a request, and the bytes once the name is there again."""
    emulator = serve(CLIP)
    library = unmounted(emulator)
    fh = library.open(CLIP)
    heard = len(ended_requests(emulator, route="source"))

    def resolve(*_: object) -> object:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with monkeypatch.context() as offline:
        offline.setattr(pool, "IDLE_TIMEOUT_S", -1.0)
        offline.setattr(socket, "getaddrinfo", resolve)
        with pytest.raises(HostUnreachable, match="does not resolve") as caught:
            library.read(fh, 0, 1000)
    assert caught.value.errno == errno.EIO
    assert len(ended_requests(emulator, route="source")) == heard
    library.clock.jump(3)
    library.assert_reads(fh, CLIP, 0, 1000)
    assert library.gets(CLIP) == [("bytes=0-59999", 206)]
