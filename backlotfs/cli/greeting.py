"""The first question to an API: is it there, and does it accept us?"""

from __future__ import annotations

import requests

from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.clock import Clock, Deadline
from backlotfs.settings import Account
from backlotfs.wiring import open_api

#: The API is asked one small question before anything else, and has to answer within this.
GREETING_DEADLINE_S = 3.5


def greet(
    account: Account,
    clock: Clock,
    session: requests.Session,
    limiter: ApiRateLimiter | None = None,
) -> None:
    """Is the API there, and does it accept us?

    :param limiter: waits for credits where the account has none left; None: hardly any wait.
    :raises BacklotError: with the reason, within `GREETING_DEADLINE_S` of silence.
    """
    limiter = limiter or ApiRateLimiter(clock, credit_wait_s=GREETING_DEADLINE_S)
    api = open_api(account, clock, session, limiter=limiter, page_limit=1)
    next(api.iter_pages(deadline=Deadline(GREETING_DEADLINE_S, clock)), None)
