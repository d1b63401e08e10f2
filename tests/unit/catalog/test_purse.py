"""Spending credits: asked for before a call, accounted for after it."""

from __future__ import annotations

import pytest

from backlotfs.api.rate_status import RateStatus
from backlotfs.catalog.purse import Purse
from backlotfs.catalog.rate_budget import Priority, RateBudget
from backlotfs.clock import Deadline
from backlotfs.errors import RateLimited, RemoteUnavailable
from tests.unit.fakes import ManualClock


class Account:
    """A purse, and what the API's last answer said."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.rate: RateStatus | None = None
        self.purse = Purse(RateBudget(self.clock, credits=10), lambda: self.rate)

    def call(
        self, error: Exception | None = None, *, priority: Priority = Priority.WAITING
    ) -> None:
        """One call of the API."""
        with self.purse.spend(priority, Deadline(5.0, self.clock)):
            if error is not None:
                raise error


def test_what_the_answers_say_is_obeyed() -> None:
    """No credits left: who cannot wait that long is refused before anything is sent."""
    account = Account()
    account.rate = RateStatus(credits_left=0, resets_at_s=account.clock.monotonic() + 40)
    account.call()
    with pytest.raises(RateLimited):
        account.call()
    account.clock.advance(60)
    account.call()
    assert account.purse.snapshot().credits_left <= 10


def test_a_server_that_says_nothing_of_credits() -> None:
    """Has none to spend: nobody waits, however many calls there are."""
    account = Account()
    for _ in range(500):
        account.call(priority=Priority.BACKGROUND)


def test_a_429_holds_everybody_back() -> None:
    """For as long as it says; who cannot wait that long is told at once."""
    account = Account()
    account.rate = RateStatus(credits_left=5, resets_at_s=account.clock.monotonic() + 40)
    with pytest.raises(RateLimited):
        account.call(RateLimited("429", retry_after_s=30.0))
    with pytest.raises(RateLimited):
        account.call()
    account.clock.advance(90)
    account.call()


def test_a_429_from_a_server_that_said_nothing() -> None:
    """It has a limit after all, and its word is kept from the first time."""
    account = Account()
    account.call()
    with pytest.raises(RateLimited, match="429"):
        account.call(RateLimited("429", retry_after_s=30.0))
    with pytest.raises(RateLimited):
        account.call()


def test_other_errors_pass_through() -> None:
    """And the call counts as spent."""
    account = Account()
    with pytest.raises(RemoteUnavailable):
        account.call(RemoteUnavailable("down"))
    account.call()
    with pytest.raises(RemoteUnavailable):
        account.call(RemoteUnavailable("down"))
