# SPDX-License-Identifier: Apache-2.0
"""The API misbehaves: reads with a live URL go on, listings stay, nobody storms it."""

from __future__ import annotations

import pytest

from backlotfs.emulator import Fault
from backlotfs.errors import (
    BacklotError,
    CredentialsRefused,
    ProtocolViolation,
    RemoteUnavailable,
)
from backlotfs.http.backoff import RetryPolicy
from tests.conftest import Serve
from tests.faults.conftest import Unmounted
from tests.support.deadlines import wait_until
from tests.support.made_assets import MIB, video
from tests.support.request_log import ended_requests

REEL = video("reel.mov", 4 * MIB)
GIVEN_UP = "the last listing is still shown"
API_ROUTES = ("assets", "streams", "source_file_info")


def test_reads_go_on_while_the_api_is_down(
    serve: Serve,
    unmounted: Unmounted,
    expected_warnings: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A live URL is enough: the whole file, the listing as it was, one warning per failed look."""
    expected_warnings.append(GIVEN_UP)
    emulator = serve(REEL)
    library = unmounted(emulator)
    library.size(REEL)
    for route in API_ROUTES:
        emulator.faults.add(Fault.status(503), route=route)
    before = len(ended_requests(emulator, route="assets"))
    library.clock.jump(301)  # the listing is due
    assert library.names() == ["reel.mov"]
    library.assert_whole(REEL)
    wait_until(lambda: GIVEN_UP in caplog.text, "the refresh to give up")
    assert library.names() == ["reel.mov"]
    assert library.url_requests(REEL) == 1
    assert len(ended_requests(emulator, route="assets")) - before <= RetryPolicy().max_attempts


def test_a_size_that_cannot_be_had_is_an_error_and_no_storm(
    serve: Serve, unmounted: Unmounted
) -> None:
    """The API is down for the first stat: EIO at once for all who come in the next 2 s."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    down = [emulator.faults.add(Fault.status(503), route=route) for route in API_ROUTES]
    for _ in range(20):
        with pytest.raises(RemoteUnavailable):
            library.size(REEL)
    assert library.url_requests(REEL) == RetryPolicy().max_attempts
    for rule in down:
        emulator.faults.remove(rule)
    with pytest.raises(RemoteUnavailable):
        library.size(REEL)
    library.clock.jump(2.1)
    assert library.size(REEL) == 4 * MIB


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(500),
        Fault.of("html_500"),
        Fault.status(503),
        Fault.rate_limited(1),
        Fault.reset(-1),
        Fault.of("empty_json"),
        Fault.of("truncated_json"),
    ],
    ids=lambda fault: fault.kind,
)
def test_one_bad_answer_about_the_url_is_not_noticed(
    serve: Serve, unmounted: Unmounted, expected_warnings: list[str], fault: Fault
) -> None:
    """Asked again, and the size and bytes are right."""
    expected_warnings.append("(429)")
    emulator = serve(REEL)
    emulator.faults.add(fault, route="streams", times=1)
    library = unmounted(emulator)
    library.assert_whole(REEL)
    assert library.probes(REEL) == 1


def test_refused_credentials_are_never_retried(serve: Serve, unmounted: Unmounted) -> None:
    """401 in mid-flight: EACCES after one call, for stat; another for a refresh."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    emulator.faults.add(Fault.status(401), route="streams")
    with pytest.raises(CredentialsRefused):
        library.size(REEL)
    assert library.url_requests(REEL) == 1


def test_an_api_that_talks_nonsense_is_eio(serve: Serve, unmounted: Unmounted) -> None:
    """JSON that is none, for ever: EIO, bounded."""
    emulator = serve(REEL)
    library = unmounted(emulator)
    emulator.faults.add(Fault.of("truncated_json"), route="streams")
    with pytest.raises(BacklotError) as caught:
        library.size(REEL)
    assert isinstance(caught.value, ProtocolViolation | RemoteUnavailable)
    assert library.url_requests(REEL) <= RetryPolicy().max_attempts


def test_a_refresh_that_fails_half_way_keeps_the_whole_listing(
    serve: Serve,
    unmounted: Unmounted,
    expected_warnings: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The second page fails for good: the listing stays complete, not cut to one page."""
    expected_warnings.append(GIVEN_UP)
    assets = [video(f"reel-{number}.mov") for number in range(10)]
    emulator = serve(*assets, page_cap=4)
    library = unmounted(emulator)
    emulator.library.add(video("new.mov"))
    failing = emulator.faults.add(Fault.status(500), route="assets", skip=1)
    library.stack.catalog.refresh()
    wait_until(lambda: GIVEN_UP in caplog.text, "the refresh to give up")
    assert failing.hits == RetryPolicy().max_attempts
    assert len(library.names()) == 10
    emulator.faults.remove(failing)
    library.clock.jump(301)

    def listed() -> bool:
        return len(library.names()) == 11

    wait_until(listed, "the next refresh to bring the upload")
