# SPDX-License-Identifier: Apache-2.0
"""The first call of the API: checks that the API answers and accepts the credentials."""

from __future__ import annotations

from backlotfs.api.client import ApiClient
from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.api.session import ApiSession
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.settings import Account
from backlotfs.config.time_limits import UNREACHABLE_S
from backlotfs.errors import (
    AnswerTimedOut,
    NoSuchEntry,
    ProtocolViolation,
    RemoteUnavailable,
)
from backlotfs.http.backoff import Backoff, RetryPolicy


def check_api(
    account: Account,
    clock: Clock,
    session: ApiSession,
    limiter: ApiRateLimiter | None = None,
) -> bool:
    """List one asset; return whether the API includes sources in listings on request.

    The call has the parameter ``include=streams``. If the server refuses this parameter, the call
    is repeated without it.

    The limit for the answer is ``--api-timeout``, as for every call. If the API cannot be reached,
    the call is not tried again after `UNREACHABLE_S`.

    :param limiter: waits for API credits; None: one that waits at most `UNREACHABLE_S`.
    :raises BacklotError: the API cannot be used; the message says why.
    """
    limiter = limiter or ApiRateLimiter(clock, credit_wait_s=UNREACHABLE_S)
    api = ApiClient(
        account,
        session,
        clock,
        limiter=limiter,
        page_limit=1,
        retry=RetryPolicy(max_attempts=1),
    )
    include: str | None = "streams"

    def ask() -> bool:
        nonlocal include
        deadline = Deadline(account.limits.first_call_s, clock)
        try:
            page = next(api.iter_pages(deadline=deadline, include=include), None)
        except (ProtocolViolation, NoSuchEntry):
            if include is None:
                raise
            include = None
            return ask()
        except RemoteUnavailable:
            include = None  # this parameter may be the cause: the next attempt is without it
            raise
        return page is not None and any(asset.source is not None for asset in page.items)

    backoff = Backoff(
        RetryPolicy(), Deadline(UNREACHABLE_S, clock), clock, "the first question to the API"
    )
    return backoff.run(ask, but_not=(AnswerTimedOut, ProtocolViolation))
