# SPDX-License-Identifier: Apache-2.0
"""Nothing outlasts its deadline, whatever the origin does; and faults around a URL's renewal."""

from __future__ import annotations

import errno
import time

import pytest

from backlotfs.emulator import Fault
from backlotfs.errors import (
    BacklotError,
    CredentialsRefused,
    DeadlineExceeded,
    HostUnreachable,
    ProtocolViolation,
    RateLimited,
    RemoteUnavailable,
)
from backlotfs.http.backoff import RetryPolicy
from tests.conftest import Serve
from tests.fakes.workers import in_threads, join_all
from tests.faults.conftest import Unmounted
from tests.support.deadlines import wait_until
from tests.support.long_runs import few_of
from tests.support.made_assets import MIB, video
from tests.support.request_log import ended_requests

REEL = video("reel.mov", 2 * MIB)
#: One block: nothing is read ahead.
CLIP_SIZE = 60_000
CLIP = video("clip.mov", CLIP_SIZE)
ATTEMPTS = RetryPolicy().max_attempts
#: Of one read, and the most that a busy machine adds to it.
PATIENCE_S, SLACK_S = 0.4, 8.0

NEVER_ENDING = {
    "no head": Fault.delay(600),
    "no byte of the body": Fault.stall(),
    "a stall in a block": Fault.stall(10_000),
    "a stall behind a block": Fault.stall(70_000),
    "a trickle": Fault.trickle(500),
}


@pytest.mark.parametrize("name", NEVER_ENDING)
def test_a_read_that_gets_nowhere_ends_with_its_deadline(
    serve: Serve, unmounted: Unmounted, name: str
) -> None:
    """ETIMEDOUT when the time is spent; the same bytes are right once the origin is."""
    emulator = serve(REEL)
    library = unmounted(emulator, bandwidth_bytes_s=0.0)
    fh = library.open(REEL)
    emulator.faults.add(NEVER_ENDING[name], route="source")
    library.patience_s = PATIENCE_S
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        library.read(fh, 0, 100_000)
    assert caught.value.errno == errno.ETIMEDOUT
    assert PATIENCE_S <= time.monotonic() - began < PATIENCE_S + SLACK_S
    # The probe, the read's own GET, and no more than a few hedges of it; these do not end.
    assert emulator.requests.count(route="source") <= 1 + 4
    emulator.faults.clear()
    library.patience_s = 20.0
    library.assert_whole(REEL)


@pytest.mark.parametrize("name", few_of(NEVER_ENDING, "no head", "a stall in a block"))
def test_a_source_that_gets_nowhere_does_not_stop_another(
    serve: Serve, unmounted: Unmounted, name: str
) -> None:
    """Sixteen places of one source hang; another source of the same host is read at once."""
    bad, good = video("bad.mov", 64 * MIB), video("good.mov", 4 * MIB)
    emulator = serve(bad, good)
    library = unmounted(emulator, bandwidth_bytes_s=0.0)
    fh = library.open(bad)
    rule = emulator.faults.add(NEVER_ENDING[name], route="source", embed_code=bad.embed_code)
    library.patience_s = 0.05
    for number in range(16):
        with pytest.raises(DeadlineExceeded):
            library.read(fh, number * 4 * MIB, 500_000)
    emulator.requests.wait_for(lambda _log: rule.hits >= 1)
    library.patience_s = 20.0
    began = time.monotonic()
    library.assert_whole(good)
    assert time.monotonic() - began < SLACK_S


#: What the API does when a URL has to be renewed: error and errno of the read, calls of the API.
RENEWALS: dict[str, tuple[Fault, type[BacklotError], int, int]] = {
    "500": (Fault.status(500), RemoteUnavailable, errno.EIO, ATTEMPTS),
    "503": (Fault.status(503), RemoteUnavailable, errno.EIO, ATTEMPTS),
    "reset": (Fault.reset(-1), RemoteUnavailable, errno.EIO, ATTEMPTS),
    "401": (Fault.status(401), CredentialsRefused, errno.EACCES, 1),
    "cut JSON": (Fault.of("truncated_json"), ProtocolViolation, errno.EIO, ATTEMPTS),
}


@pytest.mark.parametrize("name", RENEWALS)
def test_a_url_that_cannot_be_renewed_ends_the_read(
    serve: Serve, unmounted: Unmounted, name: str
) -> None:
    """One GET that is refused as expired, bounded calls of the API; then everything as before."""
    fault, error, code, calls = RENEWALS[name]
    emulator = serve(CLIP)
    library = unmounted(emulator)
    fh = library.open(CLIP)
    emulator.expire_urls()
    rule = emulator.faults.add(fault, route="streams")
    began = time.monotonic()
    with pytest.raises(error) as caught:
        library.read(fh, 0, CLIP_SIZE)
    assert caught.value.errno == code
    assert time.monotonic() - began < SLACK_S
    assert [status for _, status in library.gets(CLIP)] == [403]
    assert rule.hits == calls
    emulator.faults.remove(rule)
    library.clock.jump(61)
    library.assert_reads(fh, CLIP, 0, CLIP_SIZE)


def test_a_url_whose_renewal_is_refused_for_a_minute(
    serve: Serve, unmounted: Unmounted, expected_warnings: list[str]
) -> None:
    """429: the read waits for the credit, as long as that takes, and is not refused again."""
    expected_warnings.append("(429)")
    emulator = serve(CLIP)
    library = unmounted(emulator, bandwidth_bytes_s=0.0)
    fh = library.open(CLIP)
    emulator.expire_urls()
    rule = emulator.faults.add(Fault.rate_limited(60), route="streams")
    library.patience_s = 3600.0
    (reading,) = in_threads(1, lambda _: library.assert_reads(fh, CLIP, 0, CLIP_SIZE))
    wait_until(lambda: sum(library.stack.limiter.status().waiting) == 1, "the read to wait")
    assert library.stack.probes.is_queued(CLIP.embed_code)
    emulator.faults.remove(rule)
    assert reading.is_alive()
    library.clock.jump(70)
    join_all([reading])
    assert rule.hits == 1
    statuses = [status for _, status in library.gets(CLIP)]
    assert statuses.count(403) == 1
    assert set(statuses) == {403, 206}, "a GET that is slow beside a load may be doubled"


def test_no_credit_within_the_longest_wait_is_etimedout(
    serve: Serve, unmounted: Unmounted, expected_warnings: list[str]
) -> None:
    """After ``--credit-wait``; then everything as before."""
    expected_warnings.append("(429)")
    emulator = serve(CLIP)
    library = unmounted(emulator, credit_wait_s=1.0)
    fh = library.open(CLIP)
    emulator.expire_urls()
    rule = emulator.faults.add(Fault.rate_limited(60), route="streams")
    began = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        library.read(fh, 0, CLIP_SIZE)
    assert caught.value.errno == errno.ETIMEDOUT
    assert 1 <= time.monotonic() - began < SLACK_S
    assert rule.hits == 1
    emulator.faults.remove(rule)
    library.clock.jump(70)
    library.assert_reads(fh, CLIP, 0, CLIP_SIZE)


def test_a_source_host_without_tls_is_eio(serve: Serve, unmounted: Unmounted) -> None:
    """``https`` to a port that speaks something else: in words, and no request in its log."""
    plain = serve(REEL)
    base = plain.api_url.replace("http:", "https:")
    library = unmounted(serve(REEL, source_base_url=base))
    with pytest.raises(HostUnreachable, match=r"127\.0\.0\.1: TLS failed") as caught:
        library.size(REEL)
    assert caught.value.errno == errno.EIO
    assert ended_requests(plain) == []


@pytest.mark.parametrize("seconds", [86_400, -86_400, 40 * 86_400])
def test_a_wall_clock_that_jumps_changes_no_byte(
    serve: Serve, unmounted: Unmounted, seconds: float
) -> None:
    """A day ahead or back: at most one new URL, and every byte of the open file."""
    emulator = serve(REEL)
    library = unmounted(emulator, bandwidth_bytes_s=0.0)
    fh = library.open(REEL)
    library.assert_reads(fh, REEL, 0, 65_536)
    library.clock.set_wall(seconds)
    for offset in range(65_536, 2 * MIB, 65_536):
        library.assert_reads(fh, REEL, offset, 65_536)
    assert library.url_requests(REEL) <= 2
