# SPDX-License-Identifier: Apache-2.0
"""What answers teach besides their records: the server's clock, and the account's credits."""

from __future__ import annotations

import itertools
from email.utils import formatdate

import pytest
from requests import ConnectTimeout

from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import (
    CircuitOpen,
    ClockSkewed,
    CredentialsRefused,
    HostUnreachable,
    NoSuchEntry,
    RateLimited,
)
from backlotfs.http.backoff import Backoff, RetryPolicy
from backlotfs.http.circuit_breaker import LIMIT, RETRY_INTERVAL_S
from tests.fakes.api import GOOD, E, ask, good, refused, reply, said, scripted


@pytest.mark.parametrize("status", [400, 401])
def test_expired_once_is_signed_afresh(status: int) -> None:
    """A request that grew stale on the way is sent once more, with a later ``expires``."""
    rig = scripted(said(status, "Request Expired"), GOOD)
    assert ask(rig) == E
    assert int(rig.adapter.params(1)["expires"]) > int(rig.adapter.params(0)["expires"])
    assert rig.clock.slept_s == []


def test_expired_twice_is_a_refusal() -> None:
    """Another refusal in spite of equal clocks is not the clock's fault."""
    error = refused(scripted(*[said(400, "Request expired")] * 2), CredentialsRefused)
    assert not isinstance(error, ClockSkewed)


@pytest.mark.parametrize(("message", "status"), [("Request Expired", 401), ("Bad Request", 400)])
@pytest.mark.parametrize(("skew_s", "side"), [(4000, "behind"), (-4000, "ahead of")])
def test_a_clock_that_is_off(message: str, status: int, skew_s: int, side: str) -> None:
    """The person at the machine is told by how much, and what to type."""
    if message == "Bad Request" and skew_s < 0:
        message = "expired"  # bare words count only when the server's clock is past ``expires``
    rig = scripted()
    date = formatdate(rig.clock.now() + skew_s, usegmt=True)
    rig.adapter.steps.append(said(status, message, Date=date))
    error = refused(rig, ClockSkewed)
    assert f"clock is 4000 s {side} the server's" in str(error)
    assert "timedatectl set-ntp true" in str(error)


def test_clock_skew_is_learnt_only_from_uncached_answers() -> None:
    """``Date`` counts to the second; a cached, absent or absurd one does not count."""
    rig = scripted()
    assert rig.client.clock_skew_s == 0.0
    date = formatdate(rig.clock.now() + 100, usegmt=True)
    rig.adapter.steps += [
        good(Date=date, Age="5"),
        good(Date="yesterday"),
        good(Date="Mon, 01 Jan 99999 00:00:00 GMT"),
    ]
    for _ in range(3):
        ask(rig)
        assert rig.client.clock_skew_s == 0.0
    rig.adapter.steps.append(good(Date=date, Age="0"))
    ask(rig)
    assert rig.client.clock_skew_s == pytest.approx(100, abs=1.0)


def test_cdn_answers_teach_nothing() -> None:
    """The clock and the credits of a cache are not the API's, and its calls cost none."""
    rig = scripted(
        reply(
            [{"is_source": True, "file_size": 1, "url": "http://h/x"}],
            Date=formatdate(0, usegmt=True),
            X_Ratelimit_Credits="3",
        ),
        cdn_url="https://cdn.example",
    )
    rig.client.get_source(E, deadline=rig.deadline(), fresh=False)
    assert rig.client.clock_skew_s == 0.0
    assert rig.limiter.status().credits_left == 300


def test_credits_are_read_from_every_answer() -> None:
    """Whatever the header's case, and also from a refusal; an answer may be silent."""
    rig = scripted(
        good(X_Ratelimit_Credits="250", X_RATELIMIT_RESET="59"),
        said(403, "no", x_ratelimit_credits="240", x_ratelimit_reset="58"),
        GOOD,
        good(X_Ratelimit_Credits="many"),
    )
    ask(rig)
    assert (rig.limiter.status().credits_left, rig.limiter.status().resets_in_s) == (250, 59)
    with pytest.raises(CredentialsRefused):
        ask(rig)
    assert rig.limiter.status().credits_left == 240
    ask(rig)
    ask(rig)
    assert rig.limiter.status().credits_left == 238, "silent answers cost a credit each"


@pytest.mark.parametrize(
    ("message", "headers", "wait_s"),
    [
        ("Request limit exceeded for provider 12345. Try again after 55 seconds.", {}, 55),
        ("after 5 seconds", {"X-RateLimit-Reset": "7"}, 5),
        ("slow down", {"x-ratelimit-reset": "7", "Retry-After": "9"}, 7),
        ("slow down", {"Retry-After": "9"}, 9),
        ("slow down", {"Retry-After": formatdate(1_893_456_011, usegmt=True)}, 10.5),
        ("slow down", {"Retry-After": "later"}, 1),
        ({"code": 1}, {}, 1),
        ("999999999 seconds", {}, 3600),
    ],
)
def test_429(message: object, headers: dict[str, str], wait_s: float) -> None:
    """Waited out in the queue: the deadline of the operation stands still meanwhile."""
    rig = scripted(said(429, message, **headers), GOOD, credit_wait_s=2 * 3600.0)
    deadline = rig.deadline(5.0)
    began_s = rig.clock.monotonic()
    assert rig.client.labels(deadline)[0].id == E
    waited_s = rig.clock.monotonic() - began_s
    assert wait_s <= waited_s <= wait_s + 1.1, "a second more: servers speak of whole seconds"
    assert deadline.remaining_s() == pytest.approx(5.0)


def test_429_without_a_time_backs_off() -> None:
    """One second, then two, four …; never more than a minute."""
    rig = scripted(*[said(429, "slow down")] * 9, GOOD)
    moments: list[float] = []
    adapter = rig.adapter
    adapter.on_send = lambda: moments.append(rig.clock.monotonic())
    assert ask(rig) == E
    pauses = [late - early for early, late in itertools.pairwise(moments)]
    for pause, least in zip(pauses, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert least <= pause <= least + 2.1


def test_a_host_that_was_down_is_asked_again() -> None:
    """Nobody is charged for a call that is not made; the first one that is made gets through."""
    down = ConnectTimeout("no answer")
    rig = scripted(*[down] * LIMIT, retry=RetryPolicy(max_attempts=1))
    for _ in range(LIMIT):
        with pytest.raises(HostUnreachable):
            ask(rig)
    left = rig.limiter.status().credits_left
    for _ in range(50):
        with pytest.raises(CircuitOpen):
            ask(rig)
    assert rig.limiter.status().credits_left == left
    rig.clock.advance(RETRY_INTERVAL_S)
    rig.adapter.steps.append(GOOD)
    assert ask(rig) == E


def test_429_without_end() -> None:
    """After the longest wait for a credit it is `RateLimited`, with the time that is missing."""
    rig = scripted(said(429, "Try again after 600 seconds."), credit_wait_s=60.0)
    error = refused(rig, RateLimited)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == pytest.approx(541.0, abs=1.1)
    assert rig.limiter.status().credits_left == 0


def test_429_again_and_again_ends_with_the_longest_wait() -> None:
    """A server that always refuses does not make each wait a new one."""
    rig = scripted(*[said(429, "Try again after 25 seconds.")] * 3, credit_wait_s=60.0)
    began_s = rig.clock.monotonic()
    refused(rig, RateLimited)
    assert rig.clock.monotonic() - began_s <= 61.0


def test_the_longest_wait_is_that_of_a_renewal_with_all_its_attempts() -> None:
    """The source path repeats a renewal by its own loop: its waits add up over the attempts."""
    rig = scripted(*[said(429, "Try again after 25 seconds.")] * 4, credit_wait_s=60.0)
    deadline = Deadline(30.0, rig.clock)
    backoff = Backoff(RetryPolicy(), deadline, rig.clock, "reading E")
    with pytest.raises(RateLimited, match="within 60 s"):
        backoff.run(lambda: rig.client.get_source("E", deadline=deadline))
    assert deadline.queued_s == pytest.approx(60.0, abs=1.1)
    assert deadline.remaining_s() == pytest.approx(30.0, abs=1.0), "it stands still in the queue"


def test_calls_are_counted_by_how_they_ended() -> None:
    """Each attempt by itself; those of the CDN host apart."""
    rig = scripted(said(404, "no such asset"))
    assert rig.client.count_calls() == {}
    refused(rig, NoSuchEntry)
    rig.adapter.steps += [reply("{}", 429), GOOD, ConnectTimeout(), GOOD]
    ask(rig)
    ask(rig)
    counted = {kind.result.value: number for kind, number in rig.client.count_calls().items()}
    assert counted == {"error": 1, "limited": 1, "unanswered": 1, "ok": 2}
    assert {kind.host for kind in rig.client.count_calls()} == {"api"}
