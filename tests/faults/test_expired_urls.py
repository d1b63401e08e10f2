# SPDX-License-Identifier: Apache-2.0
"""URLs that die: in the middle of a stream, for many at once, on arrival."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest

from backlotfs.emulator import Fault
from backlotfs.errors import DeadlineExceeded
from backlotfs.http.backoff import Backoff
from backlotfs.source.signed_get import MAX_EXPIRED
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.support.made_assets import MIB, video
from tests.support.request_log import ended_requests

REEL = video("reel.mov", 300_000)
EXPIRED = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
    "<Message>Request has expired</Message><Expires>2013-01-01T00:00:00Z</Expires>"
    "<ServerTime>2013-01-01T00:00:01Z</ServerTime></Error>"
)
READERS = 32


def test_an_expired_url_in_mid_stream_costs_one_refusal_and_one_refresh(
    serve: Serve, unmounted: Unmounted
) -> None:
    """The reader sees bytes; the log one 403, one new URL, and the same range again."""
    reel = video("long.mov", 4 * MIB)
    emulator = serve(reel)
    library = unmounted(emulator)
    fh = library.open(reel)
    library.assert_reads(fh, reel, 3 * MIB, 1000)
    before = len(library.gets(reel))
    emulator.expire_urls()
    library.assert_reads(fh, reel, MIB, 1000)
    refused, served = library.gets(reel)[before:]
    assert refused == (served[0], 403)
    assert served[1] == 206
    assert library.url_requests(reel) == 2


def test_a_renewal_passes_one_retry_loop(serve: Serve, unmounted: Unmounted) -> None:
    """The 403, the API call for a new URL, and the GET that succeeds: in one loop, not nested."""
    reel = video("long.mov", 4 * MIB)
    emulator = serve(reel)
    thread = threading.local()
    depths: list[int] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if frame.f_code is Backoff.run.__code__:
            thread.depth = getattr(thread, "depth", 0) + (1 if event == "call" else -1)
            if event == "call":
                depths.append(thread.depth)

    threading.setprofile(profile)  # of the threads that begin from now on
    try:
        library = unmounted(emulator)
        fh = library.open(reel)
        library.assert_reads(fh, reel, 3 * MIB, 1000)
        assert depths, "the threads that read are watched"
        depths.clear()
        emulator.expire_urls()
        library.assert_reads(fh, reel, MIB, 1000)
    finally:
        threading.setprofile(None)
    assert [status for _, status in library.gets(reel)][-2:] == [403, 206]
    assert depths == [1]


def test_a_url_is_renewed_before_it_expires(serve: Serve, unmounted: Unmounted) -> None:
    """An hour later, with URLs that live an hour: a new URL without any 403."""
    reel = video("long.mov", 20 * MIB)
    ahead = [0.0]
    emulator = serve(reel, url_lifetime_s=3600, clock=lambda: time.time() + ahead[0])
    library = unmounted(emulator)
    fh = library.open(reel)
    # in reserve: a URL's last minute; no two places at one distance: nothing is read ahead
    for place, later_s in ((4, 0), (17, 3500), (9, 100), (13, 3600)):
        ahead[0] += later_s
        library.clock.jump(later_s)
        library.assert_reads(fh, reel, place * MIB, 1000)
    assert ended_requests(emulator, route="source", status=403) == []
    assert library.url_requests(reel) == 3


def test_32_readers_of_an_expired_url_cause_one_refresh(serve: Serve, unmounted: Unmounted) -> None:
    """32 threads meet a dead URL in the same moment: one call of the API among them."""
    reel = video("long.mov", READERS * MIB)
    emulator = serve(reel)
    library = unmounted(emulator)
    fh = library.open(reel)
    emulator.expire_urls()
    gate = threading.Barrier(READERS)

    def read(number: int) -> None:
        gate.wait(20)
        library.assert_reads(fh, reel, number * MIB + 70_000, 20_000)

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, range(READERS)))
    assert library.url_requests(reel) == 2
    assert 1 <= len(ended_requests(emulator, route="source", status=403)) <= READERS


@pytest.mark.parametrize("times", [1, MAX_EXPIRED])
def test_a_url_may_die_in_the_queue_a_few_times(
    serve: Serve, unmounted: Unmounted, times: int
) -> None:
    """Expired on arrival up to the limit: a new URL each time, then the bytes."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    emulator.faults.add(Fault.status(403, EXPIRED), route="source", times=times)
    library.assert_reads(fh, REEL, 0, 300_000)
    assert [status for _, status in library.gets(REEL)] == [403] * times + [206]
    assert library.url_requests(REEL) == 1 + times


def test_urls_that_are_always_expired_end_the_read(serve: Serve, unmounted: Unmounted) -> None:
    """Broken clocks somewhere: ETIMEDOUT with a hint, after a handful of requests."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    fh = library.open(REEL)
    emulator.faults.add(Fault.status(403, EXPIRED), route="source")
    with pytest.raises(DeadlineExceeded, match="clock"):
        library.read(fh, 0, 300_000)
    assert len(library.gets(REEL)) == MAX_EXPIRED + 1
    assert library.url_requests(REEL) <= 1 + MAX_EXPIRED


def test_a_lifetime_of_one_second_is_enough(serve: Serve, unmounted: Unmounted) -> None:
    """URLs that live a second, while the file is read ten times over: the right bytes."""
    reel = video("long.mov", 2 * MIB)
    emulator = serve(reel, url_lifetime_s=1)
    library = unmounted(emulator, memory_bytes=MIB)
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        library.assert_whole(reel)
    assert 2 <= library.url_requests(reel) <= 8
