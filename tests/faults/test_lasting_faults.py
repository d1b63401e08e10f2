# SPDX-License-Identifier: Apache-2.0
"""The origin does not recover: what the fault matrix has no row for."""

from __future__ import annotations

import errno
import time

import pytest

from backlotfs.emulator import Fault
from backlotfs.errors import (
    BacklotError,
    ContentChanged,
    DeadlineExceeded,
    Interrupted,
    ProtocolViolation,
    RemoteUnavailable,
    SourceGone,
)
from backlotfs.http.address_policy import SourceRefused
from backlotfs.http.backoff import RetryPolicy
from tests.conftest import Serve
from tests.fakes.sources import read_bytes
from tests.faults.conftest import Unmounted
from tests.support.made_assets import video
from tests.support.request_log import ended_requests

REEL = video("reel.mov", 300_000)
ATTEMPTS = RetryPolicy().max_attempts


def test_a_source_that_is_gone_is_enoent_at_open(serve: Serve, unmounted: Unmounted) -> None:
    """404 for the first probe: ENOENT, one refresh, and nobody asks again for a minute."""
    emulator = serve(REEL)
    emulator.faults.add(Fault.status(404), route="source")
    library = unmounted(emulator)
    for _ in range(3):
        with pytest.raises(SourceGone) as caught:
            library.open(REEL)
        assert caught.value.errno == errno.ENOENT
    assert (library.probes(REEL), library.url_requests(REEL)) == (2, 2)
    assert library.names() == []
    emulator.faults.clear()
    library.clock.jump(61)
    library.assert_whole(REEL)
    assert library.names() == ["reel.mov"]


def test_an_asset_deleted_while_open_is_estale(serve: Serve, unmounted: Unmounted) -> None:
    """Deleted at the origin: ESTALE for the handle, also at close; ENOENT for the name."""
    emulator = serve(REEL, video("other.mov"))
    library = unmounted(emulator)
    fh = library.open(REEL)
    emulator.library.delete(REEL.embed_code)
    with pytest.raises(ContentChanged):
        library.read(fh, 0, 100)
    library.refresh()
    with pytest.raises(ContentChanged):
        library.stack.reading.reader.flush(fh)
    with pytest.raises(BacklotError) as absent:
        library.size(REEL)
    assert absent.value.errno == errno.ENOENT
    assert library.names() == ["other.mov"]


def test_a_redirect_elsewhere_is_not_followed(serve: Serve, unmounted: Unmounted) -> None:
    """Another host may not serve the bytes: EACCES, and that host hears nothing."""
    emulator, elsewhere = serve(REEL), serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    target = elsewhere.source_url(REEL.embed_code)
    emulator.faults.add(Fault.redirect(target), route="source")
    with pytest.raises(SourceRefused, match=r"redirects .* allow_source_hosts") as caught:
        library.read(fh, 0, 100)
    assert caught.value.errno == errno.EACCES
    assert ended_requests(elsewhere) == []


def test_a_redirect_on_the_same_host_is_followed_but_not_for_ever(
    serve: Serve, unmounted: Unmounted
) -> None:
    """One hop serves the bytes; a loop ends."""
    circle = video("circle.mov")
    emulator = serve(REEL, circle)
    library = unmounted(emulator)
    fh, in_circle = library.open(REEL), library.open(circle)
    hop = emulator.faults.add(
        Fault.redirect(emulator.source_url(REEL.embed_code), 307), route="source", times=1
    )
    library.assert_reads(fh, REEL, 0, 100)
    assert hop.hits == 1
    loop = emulator.faults.add(
        Fault.redirect(emulator.source_url(circle.embed_code)),
        route="source",
        embed_code=circle.embed_code,
    )
    with pytest.raises(ProtocolViolation):
        library.read(in_circle, 0, 100)
    assert loop.hits <= 4 * ATTEMPTS


def test_a_host_that_refuses_connections_is_eio(serve: Serve, unmounted: Unmounted) -> None:
    """The API is there, the source host is not: EIO in words, for stat, open and nothing else."""
    emulator = serve(REEL, source_base_url="http://127.0.0.1:1")
    library = unmounted(emulator)
    with pytest.raises(RemoteUnavailable, match=r"127\.0\.0\.1: it refuses the connection"):
        library.size(REEL)
    assert library.names() == ["reel.mov"]
    # Whoever scans the folder meanwhile is answered from memory.
    with pytest.raises(RemoteUnavailable):
        library.open(REEL)
    assert library.url_requests(REEL) == 1
    assert len(library.clock.slept_s) == ATTEMPTS - 1


def test_a_read_without_an_end_meets_its_deadline(serve: Serve, unmounted: Unmounted) -> None:
    """The source stalls: ETIMEDOUT when the operation's time is spent, not later."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    emulator.faults.add(Fault.stall(), route="source")
    library.patience_s = 0.3
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        library.read(fh, 0, 100)
    assert caught.value.errno == errno.ETIMEDOUT
    assert time.monotonic() - began < 10


def test_a_killed_caller_is_let_go_at_once(serve: Serve, unmounted: Unmounted) -> None:
    """The source stalls and the caller is gone: EINTR long before any deadline."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    stall = emulator.faults.add(Fault.stall(), route="source")
    began = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        read_bytes(library.stack.reading.reader, fh, 0, 100, library.waiter(lambda: stall.hits > 0))
    assert caught.value.errno == errno.EINTR
    assert time.monotonic() - began < 10
