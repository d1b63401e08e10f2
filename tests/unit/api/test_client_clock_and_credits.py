"""What answers teach besides their records: the server's clock, and the account's credits."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from backlotfs.api.rate_status import RateStatus
from backlotfs.errors import ClockSkewed, CredentialsRefused, RateLimited
from backlotfs.wire.retrying import RetryPolicy
from tests.unit.api.scripted import GOOD, E, ask, refused, reply, said, scripted


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
        reply({"embed_code": E}, Date=date, Age="5"),
        reply({"embed_code": E}, Date="yesterday"),
        reply({"embed_code": E}, Date="Mon, 01 Jan 99999 00:00:00 GMT"),
    ]
    for _ in range(3):
        ask(rig)
        assert rig.client.clock_skew_s == 0.0
    rig.adapter.steps.append(reply({"embed_code": E}, Date=date, Age="0"))
    ask(rig)
    assert rig.client.clock_skew_s == pytest.approx(100, abs=1.0)


def test_cdn_answers_teach_nothing() -> None:
    """A cache's clock and credits are someone else's."""
    rig = scripted(
        reply({"embed_code": E}, Date=formatdate(0, usegmt=True), X_Ratelimit_Credits="3"),
        cdn_url="https://cdn.example",
    )
    rig.client.get_asset(E, deadline=rig.deadline(), fresh=False)
    assert rig.client.clock_skew_s == 0.0
    assert rig.client.rate is None


def test_credits_are_read_from_every_answer() -> None:
    """Whatever the header's case; an answer that says nothing changes nothing."""
    rig = scripted(
        reply({"embed_code": E}, X_Ratelimit_Credits="298", X_RATELIMIT_RESET="59"),
        GOOD,
        said(403, "no", x_ratelimit_credits="297", x_ratelimit_reset="99999999"),
        reply({"embed_code": E}, X_Ratelimit_Credits="many"),
    )
    now_s = rig.clock.monotonic()
    assert rig.client.rate is None
    for _ in range(2):
        ask(rig)
        assert rig.client.rate == RateStatus(298, now_s + 59)
    with pytest.raises(CredentialsRefused):
        ask(rig)
    ask(rig)
    assert rig.client.rate == RateStatus(297, now_s + 60)


def test_a_429_of_a_server_that_counts_no_credits() -> None:
    """There are none for as long as it asks to wait; after that there is nothing to count again."""
    limited = said(429, "Try again after 2 seconds.")
    rig = scripted(limited, GOOD)
    now_s = rig.clock.monotonic()
    with pytest.raises(RateLimited):
        ask(rig, 1)
    assert rig.client.rate == RateStatus(0, now_s + 2)
    ask(rig)
    assert rig.client.rate is None
    counting = scripted(reply({"embed_code": E}, X_Ratelimit_Credits="298"), limited, GOOD)
    ask(counting)
    with pytest.raises(RateLimited):
        ask(counting, 1)
    ask(counting)
    assert counting.client.rate is not None
    assert counting.client.rate.credits_left == 0


@pytest.mark.parametrize(
    ("message", "headers", "wait_s"),
    [
        ("Request limit exceeded for provider 12345. Try again after 55 seconds.", {}, 55),
        ("after 5 seconds", {"X-RateLimit-Reset": "7"}, 5),
        ("slow down", {"x-ratelimit-reset": "7", "Retry-After": "9"}, 7),
        ("slow down", {"Retry-After": "9"}, 9),
        ("slow down", {"Retry-After": formatdate(1_893_456_011, usegmt=True)}, 10.5),
        ("slow down", {"Retry-After": "later"}, 60),
        ({"code": 1}, {}, 60),
        ("999999999 seconds", {}, 3600),
    ],
)
def test_429(message: object, headers: dict[str, str], wait_s: float) -> None:
    """Waited out when it fits the deadline; else it fails at once and says for how long."""
    limited = said(429, message, **headers)
    rig = scripted(limited, GOOD, retry=RetryPolicy(jitter=0.0))
    assert ask(rig, wait_s + 5) == E
    assert rig.clock.slept_s == [pytest.approx(wait_s + 0.25, abs=0.01)]
    rig = scripted(limited)
    error = refused(rig, RateLimited, seconds=wait_s - 1)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == pytest.approx(wait_s, abs=0.01)
    assert rig.clock.slept_s == []
    assert rig.client.rate is not None
    assert rig.client.rate.credits_left == 0
