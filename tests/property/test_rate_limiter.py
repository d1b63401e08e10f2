# SPDX-License-Identifier: Apache-2.0
"""Any interleaving of calls, answers, other tools and pauses: the account is never overdrawn by us.

Requests and answers overtake each other; the server cuts its seconds up or down.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from backlotfs.api.rate_limiter import Priority, QuotaWindow, RateStatus
from tests.support.long_runs import runs
from tests.unit.rate_limiter.model_server import ModelServer, Verdict
from tests.unit.rate_limiter.virtual_account import VirtualTime

LIMIT = 20
SHARE = 16


class Burst(NamedTuple):
    """So many attempts to call, after a pause; each request and answer takes its time."""

    pause_s: float
    caller: Priority | None  # None: another tool of the account
    calls: int
    there_s: float
    back_s: float


def bursts(*callers: Priority | None) -> st.SearchStrategy[list[Burst]]:
    pauses = st.sampled_from([0.0, 0.3, 1.0, 2.0, 59.0, 61.0]) | st.floats(0, 80)
    one = st.builds(
        Burst,
        pauses,
        st.sampled_from(callers),
        st.integers(1, 25),
        st.floats(0, 3),
        st.floats(0, 9),
    )
    return st.lists(one, min_size=1, max_size=40)


roundings = st.sampled_from([math.ceil, math.floor])


class History:
    """Plays bursts against a server, with one `QuotaWindow` that grants what it will."""

    def __init__(self, server: ModelServer) -> None:
        self.time = VirtualTime()
        self.server = server
        self.pace = QuotaWindow(credits=LIMIT, window_s=60.0, reserve=0.2)

    def play(self, burst: Burst) -> None:
        self.time.sleep(burst.pause_s)
        now_s = self.time.monotonic()
        for _ in range(burst.calls):
            if burst.caller is None:
                self.server.call("other", now_s)
            elif self.pace.next_slot_s(burst.caller, now_s) <= now_s:
                self.pace.on_sent(burst.caller, now_s)
                self._send(burst.caller, burst)

    def _send(self, caller: Priority, burst: Burst) -> None:
        def arrive() -> None:
            verdict = self.server.call(caller.name, self.time.monotonic())
            self.time.after(burst.back_s, lambda: self._answer(verdict))

        self.time.after(burst.there_s, arrive)

    def _answer(self, verdict: Verdict) -> None:
        now_s = self.time.monotonic()
        self.pace.on_answer(RateStatus(verdict.credits_left, now_s + verdict.reset_s), now_s)
        if not verdict.granted:
            self.pace.on_refused(verdict.reset_s, now_s)


@settings(max_examples=runs(300), deadline=None)
@given(bursts(*Priority), roundings)
def test_alone_we_are_never_refused(history: list[Burst], whole_s: type[int]) -> None:
    """Without other tools no answer is a 429, and the crawl keeps to its share of each window."""
    played = History(ModelServer(LIMIT, whole_s=whole_s))
    for burst in history:
        played.play(burst)
    played.time.sleep(60.0)
    assert played.server.refusals == {}
    assert played.server.most_in_a_window("LISTED", "BACKGROUND") <= SHARE


@settings(max_examples=runs(300), deadline=None)
@given(bursts(*Priority, None), roundings)
def test_beside_others_the_crawl_keeps_to_its_share(
    history: list[Burst], whole_s: type[int]
) -> None:
    """Whatever others do, the crawl's calls in one window are at most its share."""
    played = History(ModelServer(LIMIT, whole_s=whole_s))
    for burst in history:
        played.play(burst)
    played.time.sleep(60.0)
    assert played.server.most_in_a_window("LISTED", "BACKGROUND") <= SHARE


@settings(max_examples=200, deadline=None)
@given(bursts(*Priority, None), roundings)
def test_everybody_gets_a_turn_in_the_end(history: list[Burst], whole_s: type[int]) -> None:
    """No history leaves the budget stuck: the next slot is near, and when it comes it is one."""
    played = History(ModelServer(LIMIT, whole_s=whole_s))
    for burst in history:
        played.play(burst)
    for priority in Priority:
        began_s = played.time.monotonic()
        while (slot_s := played.pace.next_slot_s(priority, played.time.monotonic())) > (
            now_s := played.time.monotonic()
        ):
            assert slot_s <= now_s + 130.0
            played.time.sleep(slot_s - now_s)
            assert played.time.monotonic() <= began_s + 200.0
