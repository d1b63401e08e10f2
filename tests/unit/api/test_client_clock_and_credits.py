"""What answers teach besides their records: the server's clock, and the account's credits."""

from __future__ import annotations

from email.utils import formatdate
from itertools import pairwise

import pytest

from backlotfs.api.rate_limiter import Priority
from backlotfs.api.rate_status import RateStatus
from backlotfs.errors import ClockSkewed, CredentialsRefused, RateLimited
from backlotfs.wire.retrying import RetryPolicy
from tests.unit.api.scripted import GOOD, E, Reply, ask, refused, reply, said, scripted


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
    status = rig.limiter.status()
    assert (status.credits_left, status.resets_in_s) == (300, None)


def test_credits_are_read_from_every_answer() -> None:
    """Also from a refusal, whatever the header's case; a silent answer has cost one credit."""
    rig = scripted(
        reply({"embed_code": E}, X_Ratelimit_Credits="298", X_RATELIMIT_RESET="59"),
        GOOD,
        said(403, "no", x_ratelimit_credits="250", x_ratelimit_reset="99999999"),
        reply({"embed_code": E}, X_Ratelimit_Credits="many"),
    )
    left = []
    for _ in range(2):
        ask(rig)
        left.append(rig.limiter.status().credits_left)
    with pytest.raises(CredentialsRefused):
        ask(rig)
    left.append(rig.limiter.status().credits_left)
    ask(rig)
    left.append(rig.limiter.status().credits_left)
    assert left == [298, 297, 250, 249]
    assert rig.limiter.status().resets_in_s == 59


def test_a_server_that_counts_no_credits() -> None:
    """Calls cost nothing after its first answer, and again after a 429 that is over."""
    rig = scripted(GOOD, said(429, "Try again after 2 seconds."), GOOD)
    ask(rig)
    assert not rig.limiter.counts_credits
    ask(rig)
    assert not rig.limiter.counts_credits
    assert rig.limiter.status().refused_for_s == 0.0


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
    ],
)
def test_a_429_is_waited_out(message: object, headers: dict[str, str], wait_s: float) -> None:
    """For as long as it says (1 s where it says nothing), and the deadline stands meanwhile."""
    rig = scripted(said(429, message, **headers), GOOD)
    began_s, deadline = rig.clock.monotonic(), rig.deadline(3.0)
    assert rig.client.get_asset(E, deadline=deadline).embed_code == E
    assert rig.clock.monotonic() - began_s == pytest.approx(wait_s + 1.0, abs=0.02)
    assert deadline.remaining_s() == pytest.approx(3.0)
    assert rig.clock.slept_s == [], "no attempt of the retry policy is used up"


def test_429s_without_a_time_are_backed_off_from() -> None:
    """The pauses double up to a minute, however many attempts the retry policy allows."""
    moments: list[float] = []

    def limited(_url: str) -> Reply:
        moments.append(rig.clock.monotonic())
        return said(429, "slow down")

    rig = scripted(*[limited] * 9, GOOD, retry=RetryPolicy(max_attempts=1))
    assert ask(rig, 3.0) == E
    pauses_s = [after - before for before, after in pairwise(moments)]
    # one second of margin is added, since servers speak of whole seconds
    assert pauses_s == pytest.approx([2, 3, 5, 9, 17, 33, 61, 61], abs=0.02)


@pytest.mark.parametrize("said_s", [600, 999_999_999])
def test_a_429_beyond_the_longest_wait(said_s: int) -> None:
    """The call fails when the longest wait is over, and not before."""
    rig = scripted(said(429, f"Try again after {said_s} seconds."), credit_wait_s=120.0)
    began_s = rig.clock.monotonic()
    error = refused(rig, RateLimited, seconds=10.0)
    assert rig.clock.monotonic() - began_s == pytest.approx(120.0)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == pytest.approx(min(said_s, 3600) + 1 - 120, abs=0.02)


def test_429s_that_do_not_end() -> None:
    """After the longest wait the last one is the error, in the server's words."""
    rig = scripted(*[said(429, "after 5 seconds")] * 3, credit_wait_s=12.0)
    assert "after 5 seconds" in str(refused(rig, RateLimited))


def test_a_turn_pays_for_one_request() -> None:
    """The second request of one lookup, and a repeated one, take their turns in the queue."""
    source = {"file_size": 9, "source_file_url": None}
    rig = scripted(said(429, "after 5 seconds"), reply([]), reply(source))
    rig.limiter.acquire(Priority.WAITING)
    rig.limiter.answered(RateStatus(100, rig.clock.monotonic() + 60.0))
    with rig.limiter.try_acquire(Priority.WAITING) or pytest.fail("no turn") as turn:
        deadline = rig.deadline()
        rig.client.get_source(E, deadline=deadline, priority=Priority.WAITING, turn=turn)
        assert not turn.use()
    assert len(rig.adapter.urls) == 3
    assert not rig.limiter.is_queued(E)


def test_a_call_names_what_it_is_about() -> None:
    """While the call for a source waits for a credit, it can be found by its embed code."""
    rig = scripted(said(429, "after 5 seconds"), reply([{"is_source": True, "file_size": 7}]))
    queued: list[tuple[bool, tuple[int, ...]]] = []

    def wait(_changed: object, seconds: float) -> None:
        queued.append((rig.limiter.is_queued(E), rig.limiter.status().waiting))
        rig.clock.advance(seconds)

    rig.limiter._wait = wait
    rig.client.get_source(E, deadline=rig.deadline(), priority=Priority.RENEWAL)
    assert set(queued) == {(True, (1, 0, 0, 0))}
    assert not rig.limiter.is_queued(E)


def test_a_failure_of_the_network_spends_a_credit() -> None:
    """The server may have counted it."""
    rig = scripted(reply({"embed_code": E}, X_Ratelimit_Credits="200"), ConnectionResetError())
    rig.adapter.steps.append(GOOD)
    ask(rig)
    ask(rig)
    assert rig.limiter.status().credits_left == 198
