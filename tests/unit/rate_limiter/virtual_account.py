# SPDX-License-Identifier: Apache-2.0
"""One account in virtual time: a budget under test, a model server, events. One thread, no sleep.

A caller that waits for its turn lets the events of that time happen, and these may call in turn.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, RateStatus
from tests.unit.rate_limiter.model_server import ModelServer, Verdict


class VirtualTime:
    """Implements `backlotfs.concurrency.clock.Clock`; time passes from event to event."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now_s

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Let all events of that time happen."""
        until_s = self._now_s + seconds
        while self._now_s < until_s:
            self.pass_to(until_s)

    def jump(self, seconds: float) -> None:
        """Nothing happens in the meantime, as when a machine sleeps."""
        self._now_s += seconds

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Let it happen then."""
        heapq.heappush(self._events, (self._now_s + seconds, next(self._order), event))

    def every(self, seconds: float, event: Callable[[], None]) -> None:
        """Let it happen again and again."""

        def again() -> None:
            self.after(seconds, again)
            event()

        self.after(seconds, again)

    def pass_to(self, until_s: float) -> None:
        """Go to the next event, or to ``until_s`` if none comes before."""
        if self._events and self._events[0][0] <= until_s:
            at_s, _, event = heapq.heappop(self._events)
            self._now_s = max(self._now_s, at_s)
            event()
        else:
            self._now_s = max(self._now_s, until_s)

    def wait(self, _: threading.Condition, seconds: float) -> None:
        """In place of `threading.Condition.wait`."""
        assert seconds > 0, "a wait of no time is a busy loop"
        self.pass_to(self._now_s + seconds)


class VirtualAccount:
    """Calls on the way and their answers.

    :ivar waits_s: how long each `Priority.WAITING` call waited for its turn.
    :ivar in_flight: calls that are not answered yet.
    """

    def __init__(
        self,
        server: ModelServer,
        *,
        latency_s: float = 0.1,
        speaks: bool = True,
        credits: int = 300,
        reserve: float = 0.2,
    ) -> None:
        """``speaks``: whether answers have rate headers."""
        self.time = VirtualTime()
        self.server = server
        self.budget = ApiRateLimiter(
            self.time, credits=credits, reserve=reserve, wait=self.time.wait
        )
        self.waits_s: list[float] = []
        self.in_flight = 0
        self._latency_s = latency_s
        self._speaks = speaks

    def call(self, priority: Priority) -> None:
        """Wait for the turn, then send; the answer comes later."""
        began_s = self.time.monotonic()
        self.budget.acquire(priority)
        if priority is Priority.WAITING:
            self.waits_s.append(self.time.monotonic() - began_s)
        self.in_flight += 1
        self.time.after(self._latency_s / 2, lambda: self._arrive(priority))

    def crawl(
        self, calls: int, priority: Priority = Priority.BACKGROUND, workers: int = 8
    ) -> float:
        """So many calls, at most ``workers`` in flight; the seconds it took."""
        began_s = self.time.monotonic()
        for _ in range(calls):
            self.settle(workers - 1)
            self.call(priority)
        self.settle(0)
        return self.time.monotonic() - began_s

    def settle(self, in_flight: int = 0) -> None:
        """Let time pass until so few calls are in flight."""
        while self.in_flight > in_flight:
            self.time.pass_to(self.time.monotonic() + 1.0)

    def other_tool_calls(self) -> None:
        """Somebody else of the account, without a budget."""
        self.server.call("other", self.time.monotonic())

    def _arrive(self, priority: Priority) -> None:
        verdict = self.server.call(priority.name, self.time.monotonic())
        self.time.after(self._latency_s / 2, lambda: self._answer(verdict))

    def _answer(self, verdict: Verdict) -> None:
        self.in_flight -= 1
        ends_s = self.time.monotonic() + verdict.reset_s
        if not verdict.granted:
            self.budget.refused(verdict.reset_s)
        elif self._speaks:
            self.budget.answered(RateStatus(verdict.credits_left, ends_s))
        else:
            self.budget.failed()
