# SPDX-License-Identifier: Apache-2.0
"""Nobody listens where the sources or the API were: rarely asked, and used once it is back."""

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from backlotfs.emulator import Emulator
from backlotfs.errors import BacklotError, HostUnreachable
from backlotfs.http.circuit_breaker import LIMIT, RETRY_INTERVAL_S
from backlotfs.http.connecting import Connected
from backlotfs.http.dialer import Dialer
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.support.made_assets import MIB, video
from tests.support.outage import take_down
from tests.support.unmounted_library import UnmountedLibrary

REEL = video("reel.mov", 40 * MIB)
#: Far apart, so that each is a GET of its own.
OFFSETS = [number * 2 * MIB for number in range(20)]


class CountedDials:
    """Counts the connections that are tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        dial = Dialer.dial

        def counting(dialer: Dialer, *place: Any, **options: Any) -> Connected:
            self.count += 1
            return dial(dialer, *place, **options)

        monkeypatch.setattr(Dialer, "dial", counting)


def again(serve: Serve, old: Emulator) -> Emulator:
    """The same library, on the same port."""
    port = int(old.api_url.rpartition(":")[2])
    return serve(*old.library.ordered(), port=port, api_key=old.api_key, api_secret=old.api_secret)


def read_all(library: UnmountedLibrary, fh: int) -> list[int | None]:
    """Errno, or None, of many reads at once."""
    found: list[int | None] = []

    def read(offset: int) -> None:
        try:
            library.assert_reads(fh, REEL, offset, 1000)
            found.append(None)
        except BacklotError as error:
            found.append(error.errno)

    threads = [threading.Thread(target=read, args=(offset,), daemon=True) for offset in OFFSETS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_a_dead_source_host_is_not_hammered(
    serve: Serve, unmounted: Unmounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many readers, all EIO, and about as many attempts in all as one breaker lets through.

    Those that were under way when it opened are beyond it: at most one a reader.
    """
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    dials = CountedDials(monkeypatch)
    take_down(emulator)
    began = time.monotonic()
    for _ in range(5):
        assert read_all(library, fh) == [errno.EIO] * len(OFFSETS)
    passed_s = time.monotonic() - began
    assert dials.count <= LIMIT + len(OFFSETS) + passed_s / RETRY_INTERVAL_S + 1


def test_reads_work_again_once_the_origin_is_back(serve: Serve, unmounted: Unmounted) -> None:
    """One open handle over the outage: right bytes soon, by the first read that may ask."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    take_down(emulator)
    read_all(library, fh)
    with pytest.raises(HostUnreachable):
        library.read(fh, 0, 1000)
    library.emulator = again(serve, emulator)
    began = time.monotonic()
    while True:
        try:
            library.assert_reads(fh, REEL, 5 * MIB, 1000)
            break
        except HostUnreachable:
            assert time.monotonic() - began < 10.0
    assert time.monotonic() - began < 10.0
    assert read_all(library, fh) == [None] * len(OFFSETS)


def test_a_dead_api_is_not_hammered(
    serve: Serve, unmounted: Unmounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred sizes asked for, all EIO: a few attempts to connect; afterwards all as before."""
    assets = [video(f"clip-{number}.mov", 1000) for number in range(40)]
    emulator = serve(*assets)
    library = unmounted(emulator)
    tried: list[object] = []
    connect = socket.socket.connect_ex
    api = ("127.0.0.1", urlsplit(emulator.api_url).port)

    def counting(self: socket.socket, address: object) -> int:
        # Other threads of this process may connect elsewhere meanwhile.
        if address == api:
            tried.append(address)
        return connect(self, address)  # type: ignore[arg-type]

    take_down(emulator)
    monkeypatch.setattr(socket.socket, "connect_ex", counting)
    began = time.monotonic()
    for asset in assets:
        with pytest.raises(HostUnreachable) as caught:
            library.size(asset)
        assert caught.value.errno == errno.EIO
    assert 0 < len(tried) <= LIMIT + (time.monotonic() - began) / RETRY_INTERVAL_S + 1
    library.emulator = again(serve, emulator)
    library.clock.jump(3)  # the rest, and what a failed probe is remembered for
    assert [library.size(asset) for asset in assets] == [1000] * len(assets)
