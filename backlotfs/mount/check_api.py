"""The first question to an API: is it there, and does it accept us?"""

from __future__ import annotations

import requests

from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.settings import Account
from backlotfs.errors import (
    AnswerTimedOut,
    NoSuchEntry,
    ProtocolViolation,
    RemoteUnavailable,
)
from backlotfs.http.backoff import Backoff, RetryPolicy
from backlotfs.mount.stack import open_api

#: An API that cannot be reached, or that answers 5xx, is asked again for so long.
UNREACHABLE_S = 3.5


def check_api(
    account: Account,
    clock: Clock,
    session: requests.Session,
    limiter: ApiRateLimiter | None = None,
) -> bool:
    """Ask the API one small question; whether it puts sources into listings that ask for them.

    That is asked along with it. A server that refuses the question because of it is asked again
    without, and does not put sources into listings.

    An API that takes the question has the time for an answer that it has for every other one
    (``--api-timeout``); one that cannot be reached is said to be so within 5 s.

    :param limiter: waits for credits where the account has none left; None: hardly any wait.
    :raises BacklotError: with the reason.
    """
    limiter = limiter or ApiRateLimiter(clock, credit_wait_s=UNREACHABLE_S)
    api = open_api(
        account,
        clock,
        session,
        limiter=limiter,
        page_limit=1,
        retry=RetryPolicy(max_attempts=1),
    )
    include: str | None = "streams"

    def ask() -> bool:
        nonlocal include
        deadline = Deadline(account.limits.greeting_s, clock)
        try:
            page = next(api.iter_pages(deadline=deadline, include=include), None)
        except (ProtocolViolation, NoSuchEntry):
            if include is None:
                raise
            include = None
            return ask()
        except RemoteUnavailable:
            include = None  # perhaps it is the question that the server cannot bear
            raise
        return page is not None and any(asset.source is not None for asset in page.items)

    backoff = Backoff(
        RetryPolicy(), Deadline(UNREACHABLE_S, clock), clock, "the first question to the API"
    )
    return backoff.run(ask, but_not=(AnswerTimedOut, ProtocolViolation))
