# SPDX-License-Identifier: Apache-2.0
"""A farm of mounts with shares of one account, in virtual time."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest

from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, QuotaWindow, RateStatus
from tests.unit.rate_limiter.model_server import ModelServer, Verdict
from tests.unit.rate_limiter.virtual_account import VirtualTime

RENEWAL, WAITING, _, BACKGROUND = Priority
#: A mount looks for work this often.
LOOK_S = 4.0
LATENCY_S = 0.1


class Farm:
    """So many mounts that always have more to ask than they may."""

    def __init__(
        self,
        server: ModelServer,
        mounts: int,
        *,
        priority: Callable[[random.Random], Priority] = lambda _dice: WAITING,
    ) -> None:
        self.time = VirtualTime()
        self.server = server
        self.dice = random.Random(mounts)
        self.windows = [
            QuotaWindow(
                credits=300,
                window_s=60.0,
                reserve=0.2,
                share=1 / mounts,
                chance=random.Random(number).random,
            )
            for number in range(mounts)
        ]
        self._priority = priority
        for number in range(mounts):
            self.time.after(self.dice.uniform(0, LOOK_S), lambda number=number: self._look(number))  # type: ignore[misc]  # bound now

    def run(self, windows: int) -> list[Counter[str]]:
        """Let so many windows pass; the calls of each mount in each of them."""
        before = len(self.server.windows)
        self.server.refusals.clear()
        self.time.sleep(windows * 61.0)
        return [Counter(window) for window in self.server.windows[before + 1 : -1]]

    def _look(self, number: int) -> None:
        now_s, window = self.time.monotonic(), self.windows[number]
        priority = self._priority(self.dice)
        while window.next_slot_s(priority, now_s) <= now_s:
            window.on_sent(priority, now_s)
            self.time.after(LATENCY_S / 2, lambda: self._arrive(number))
        self.time.after(self.dice.uniform(0, 2 * LOOK_S), lambda: self._look(number))

    def _arrive(self, number: int) -> None:
        verdict = self.server.call(str(number), self.time.monotonic())
        self.time.after(LATENCY_S / 2, lambda: self._answer(number, verdict))

    def _answer(self, number: int, verdict: Verdict) -> None:
        now_s, window = self.time.monotonic(), self.windows[number]
        window.on_answer(RateStatus(verdict.credits_left, now_s + verdict.reset_s), now_s)
        if verdict.granted:
            window.on_accepted()
        else:
            window.on_refused(verdict.reset_s, now_s)


@pytest.mark.parametrize("whole_s", [math.ceil, math.floor])
def test_a_hundred_mounts_keep_within_the_account(whole_s: Callable[[float], int]) -> None:
    """None is refused, none takes more than its three calls, and the calls are used."""
    farm = Farm(ModelServer(300, whole_s=whole_s), 100)
    first = farm.run(3)
    windows = farm.run(8)
    assert farm.server.refusals == {}
    for window in first + windows:
        assert max(window.values()) <= 3
        assert window.total() <= 300
    assert sum(window.total() for window in windows) / len(windows) >= 0.85 * 240
    per_mount = sum(windows, Counter())
    assert len(per_mount) == 100
    assert min(per_mount.values()) >= 0.6 * 2.4 * len(windows)


def test_a_share_below_one_call() -> None:
    """They take turns by chance; now and then one tries whether the limit is the usual 300."""
    farm = Farm(ModelServer(60), 100, priority=lambda dice: dice.choice([WAITING, BACKGROUND]))
    farm.run(8)
    windows = farm.run(15)
    calls = sum(window.total() for window in windows)
    assert 0.75 * 48 * len(windows) <= calls
    assert sum(farm.server.refusals.values()) <= 0.15 * calls
    assert all(window.total() <= 60 for window in windows)
    assert len(sum(windows, Counter())) >= 95, "all have had a turn, but for bad luck"


def test_renewals_are_part_of_the_share() -> None:
    """A mount whose readers need URLs takes the fifth that the others leave, and no more."""
    farm = Farm(ModelServer(300), 30, priority=lambda dice: dice.choice([RENEWAL, WAITING]))
    windows = farm.run(10)
    assert farm.server.refusals == {}
    assert max(max(window.values()) for window in windows) == 10
    assert sum(window.total() for window in windows) >= 0.9 * 300 * len(windows)


def test_others_of_the_account_do_not_starve_a_share() -> None:
    """What others spend is theirs; a share stays what it is while there are credits."""
    pace = QuotaWindow(credits=300, window_s=60.0, reserve=0.2, share=0.1, chance=lambda: 0.0)
    pace.on_sent(WAITING, 0.0)
    pace.on_answer(RateStatus(120, 58.0), 2.0)
    made = 1
    while pace.next_slot_s(WAITING, 3.0) <= 3.0:
        pace.on_sent(WAITING, 3.0)
        made += 1
    assert made == 24
    assert pace.status(3.0).share == 30.0
    assert pace.status(3.0).share_left == 6


def test_times_are_those_of_the_share() -> None:
    """`more_in_s` is when a call can be made; a queue is worked off by the share of each window."""
    time = VirtualTime()
    budget = ApiRateLimiter(time, credits=500, share=0.01, wait=time.wait)
    for _ in range(4):
        budget.acquire(WAITING)
        budget.answered(RateStatus(400, time.monotonic() + 60.0))
    wait_s = budget.status().more_in_s
    assert wait_s is not None
    assert budget.wait_s(WAITING, ahead=8) == pytest.approx(wait_s + 2 * 60.0)
    began_s = time.monotonic()
    budget.acquire(WAITING)
    assert time.monotonic() - began_s == pytest.approx(wait_s, abs=1.1)


def test_a_share_of_an_api_that_counts_nothing() -> None:
    """There is no limit to have a part of."""
    time = VirtualTime()
    budget = ApiRateLimiter(time, share=0.01, wait=time.wait)
    for _ in range(50):
        budget.acquire(RENEWAL)
        budget.answered(None)
    assert time.monotonic() == 1000.0


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_what_is_no_share(share: float) -> None:
    """It is above nothing, and at most all."""
    with pytest.raises(ValueError, match="no such quota"):
        QuotaWindow(credits=10, window_s=60.0, reserve=0.2, share=share)
