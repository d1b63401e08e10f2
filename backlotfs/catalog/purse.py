"""Spending a credit: asked for before a call, accounted for after it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from backlotfs.api.rate_status import RateStatus
from backlotfs.catalog.rate_budget import BudgetStatus, Priority, RateBudget
from backlotfs.clock import Deadline
from backlotfs.errors import RateLimited


class Purse:
    """The rate budget together with what the API's answers say. Any thread may use it."""

    def __init__(
        self,
        budget: RateBudget,
        rate: Callable[[], RateStatus | None],
        watch: Callable[[BudgetStatus], None] = lambda _status: None,
    ) -> None:
        """Put it together.

        :param rate: what the last answer said of credits; None if it said nothing.
        :param watch: shown the budget after each call that costs a credit.
        """
        self._watch = watch
        self._budget = budget
        self._rate = rate
        self._silent = False

    @contextlib.contextmanager
    def spend(self, priority: Priority, deadline: Deadline) -> Iterator[None]:
        """Around one call of the API.

        A server whose answers say nothing of credits has none to spend (an archive, an emulator
        without a limit): then nobody waits, unless a 429 says otherwise.

        :raises RateLimited: at once, when the turn would come after the deadline.
        """
        if self._silent and self._rate() is None:
            yield from self._freely()
            return
        self._budget.acquire(priority, deadline)
        try:
            yield
            self._silent = self._rate() is None
        except RateLimited as error:
            self._budget.refused(error.retry_after_s)
            raise
        finally:
            self._budget.answered(self._rate())
            self._watch(self._budget.snapshot())

    def _freely(self) -> Iterator[None]:
        try:
            yield
        except RateLimited as error:
            self._silent = False
            self._budget.refused(error.retry_after_s)
            raise

    def snapshot(self) -> BudgetStatus:
        """For ``status``."""
        return self._budget.snapshot()
