# SPDX-License-Identifier: Apache-2.0
"""Many windows in virtual time: what a crawl costs the account, and what it leaves to others."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from backlotfs.api.rate_limiter import Priority
from tests.support.long_runs import few_of
from tests.unit.rate_limiter.model_server import ModelServer
from tests.unit.rate_limiter.virtual_account import VirtualAccount

OURS = ("WAITING", "LISTED", "BACKGROUND")


def others_evenly(account: VirtualAccount) -> None:
    account.time.every(1.5, account.other_tool_calls)


def others_at_once(account: VirtualAccount) -> None:
    def burst() -> None:
        for _ in range(40):
            account.other_tool_calls()

    account.time.every(60.0, burst)


@pytest.mark.parametrize("whole_s", few_of([math.ceil, math.floor, round], math.floor))
@pytest.mark.parametrize("others", few_of([others_evenly, others_at_once], others_at_once))
def test_ten_thousand_sizes_beside_everyone_else(
    whole_s: Callable[[float], int], others: Callable[[VirtualAccount], None]
) -> None:
    """Within 5 % of what 80 % of the credits allow, and nobody else notices."""
    account = VirtualAccount(ModelServer(whole_s=whole_s))
    others(account)
    account.time.every(30.0, lambda: account.call(Priority.WAITING))
    took_s = account.crawl(10_000)
    assert took_s <= 1.05 * 10_000 / 240 * 60
    assert account.server.refusals == {}
    assert account.server.most_in_a_window("BACKGROUND") <= 240
    assert len(account.waits_s) > 80
    assert max(account.waits_s) <= 4.5, "an application waits for the end of a window at most"


@pytest.mark.parametrize("priority", [Priority.LISTED, Priority.BACKGROUND])
@pytest.mark.parametrize("latency_s", few_of([0.01, 0.4, 3.0], 0.4))
def test_a_crawl_alone(priority: Priority, latency_s: float) -> None:
    """Any latency, paced or not: never beyond its share, never refused, hardly slower."""
    account = VirtualAccount(ModelServer(), latency_s=latency_s)
    took_s = account.crawl(2_400, priority, workers=64)
    assert account.server.refusals == {}
    assert account.server.most_in_a_window(*OURS) <= 240
    assert took_s <= 600 * 1.05 + 2 * latency_s * 10


def test_a_crawl_is_spread_over_the_window() -> None:
    """Half-way through a window about half of the share is spent, not all of it."""
    account = VirtualAccount(ModelServer())
    account.time.after(30.0, lambda: spent.append(account.server.most_in_a_window("BACKGROUND")))
    spent: list[int] = []
    account.crawl(200)
    assert 110 <= spent[0] <= 140


def test_a_listing_is_not_spread() -> None:
    """The folder someone looks at is sized as fast as answers come."""
    account = VirtualAccount(ModelServer(), latency_s=0.1)
    assert account.crawl(200, Priority.LISTED, workers=10) <= 2.5


def test_greedy_others_are_made_room_for() -> None:
    """At 100 calls a minute others are beyond the reserve: the crawl yields, they are served."""
    account = VirtualAccount(ModelServer())
    account.time.every(0.6, account.other_tool_calls)
    took_s = account.crawl(2_000)
    assert account.server.refusals.get("other", 0) == 0
    assert took_s <= 1.05 * 2_000 / 200 * 60


@pytest.mark.parametrize("limit", few_of([5, 50, 5_000], 5, 50))
def test_another_limit_is_learned(limit: int) -> None:
    """From the first answers: its share is used, and not more, once the server has spoken."""
    account = VirtualAccount(ModelServer(limit), latency_s=0.02)
    took_s = account.crawl(4 * limit)
    assert account.budget.status().limit == limit
    assert account.server.refusals == {}
    assert account.server.most_in_a_window(*OURS) <= 0.8 * limit
    assert took_s <= 5 * 60 * 1.05 + 5


@pytest.mark.parametrize(("limit", "window_s"), [(40, 8.0), (60, 15.0), (30, 60.0)])
def test_a_smaller_limit_is_not_exceeded_by_a_burst(limit: int, window_s: float) -> None:
    """Many programs wait when a window begins: as many go as the last one was seen to bear."""
    account = VirtualAccount(ModelServer(limit, window_s), latency_s=0.2)
    account.call(Priority.LISTED)
    account.settle()
    took_s = account.crawl(3 * limit, Priority.WAITING, workers=3 * limit)
    assert account.server.refusals == {}
    assert took_s <= 5 * (window_s + 2)


def test_a_remount_in_the_same_minute_keeps_the_reserve() -> None:
    """What an earlier mount spent looks like others' calls: no second share is taken."""
    account = VirtualAccount(ModelServer())
    for _ in range(240):
        account.other_tool_calls()
    account.time.sleep(20.0)
    account.crawl(30)
    assert account.server.windows[0].get("BACKGROUND", 0) <= 1
    assert account.budget.status().limit == 300


def test_a_server_without_numbers_is_counted() -> None:
    """No headers at all: our own count keeps the share, and nothing is refused."""
    account = VirtualAccount(ModelServer(), speaks=False, latency_s=4.0)
    took_s = account.crawl(1_200, workers=64)
    assert account.server.refusals == {}
    assert account.server.most_in_a_window(*OURS) <= 240
    assert took_s <= 5 * (60 + 2 * 4)


def test_after_a_sleep_of_hours_no_storm() -> None:
    """Twelve hours of a closed lid earn one window's share, paced like any other."""
    account = VirtualAccount(ModelServer())
    account.crawl(100)
    account.time.jump(12 * 3600.0)
    before = len(account.server.windows)
    account.crawl(480)
    assert account.server.refusals == {}
    assert all(w["BACKGROUND"] <= 240 for w in account.server.windows)
    assert len(account.server.windows) >= before + 2


def test_others_that_take_everything_do_not_starve_us_for_ever() -> None:
    """A window emptied by somebody else costs a refusal, and the next one goes on."""
    account = VirtualAccount(ModelServer())
    for _ in range(300):
        account.other_tool_calls()
    account.crawl(100)
    assert account.server.refusals == {"BACKGROUND": 1}
    assert account.server.windows[1]["BACKGROUND"] == 99
