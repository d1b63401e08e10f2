# SPDX-License-Identifier: Apache-2.0
"""What `QuotaWindow` makes of answers near the end of a window, late ones, and silent ones.

20 credits, of which 16 are for the crawl; times are seconds on a clock that starts at 0.
"""

from __future__ import annotations

import pytest

from backlotfs.api.rate_limiter import Priority, QuotaWindow, RateStatus

LISTED = Priority.LISTED


@pytest.fixture
def pace() -> QuotaWindow:
    """One call was made at 0, in a window that ends at 60."""
    pace = QuotaWindow(credits=20, window_s=60.0, reserve=0.2)
    pace.on_sent(LISTED, 0.0)
    pace.on_answer(RateStatus(19, 60.0), 0.0)
    return pace


def calls_at(pace: QuotaWindow, now_s: float, most: int = 100, priority: Priority = LISTED) -> int:
    """How many calls are granted in this instant."""
    made = 0
    while made < most and pace.next_slot_s(priority, now_s) <= now_s:
        pace.on_sent(priority, now_s)
        made += 1
    return made


def test_the_window_is_not_over_before_it_surely_is(pace: QuotaWindow) -> None:
    """The server counts whole seconds: another is waited before the share is new."""
    assert calls_at(pace, 30.0) == 15
    assert calls_at(pace, 60.9) == 0
    assert pace.next_slot_s(LISTED, 60.9) == pytest.approx(61.0)
    for _ in range(15):
        pace.on_answer(RateStatus(4, 60.9), 60.9)
    assert calls_at(pace, 61.0) == 16


def test_calls_on_their_way_over_the_end_count_in_the_new_window(pace: QuotaWindow) -> None:
    """Six calls are out when the window closes; the server may charge them to the next."""
    assert calls_at(pace, 60.5, most=6) == 6
    assert calls_at(pace, 61.5, most=1) == 1
    for _ in range(7):
        pace.on_answer(RateStatus(13, 121.0), 110.0)
    assert calls_at(pace, 110.0) == 9


def test_calls_in_a_window_that_opened_before_we_knew_are_counted(pace: QuotaWindow) -> None:
    """The first answer of a new window shows that calls since then were made in it."""
    assert calls_at(pace, 60.5, most=6) == 6
    pace.on_answer(RateStatus(19, 120.5), 60.6)
    for _ in range(5):
        pace.on_answer(RateStatus(14, 120.5), 110.0)
    assert calls_at(pace, 110.0) == 10


def test_a_window_without_numbers_ends_after_the_first_answer() -> None:
    """A slow first call may have opened it as late as its answer came."""
    pace = QuotaWindow(credits=20, window_s=60.0, reserve=0.2)
    assert calls_at(pace, 0.0) == 16
    for answered_s in (5.0, 50.0):
        pace.on_answer(None, answered_s)
    assert calls_at(pace, 65.9) == 0
    assert calls_at(pace, 66.0) == 16


def test_a_late_answer_of_the_last_window_says_nothing_about_this(pace: QuotaWindow) -> None:
    """One left, it says, of a window that is over."""
    calls_at(pace, 59.0, most=1)
    pace.on_answer(RateStatus(1, 61.5), 61.5)
    assert pace.status(61.5).credits_left == 20


def test_late_answers_of_the_last_window_give_the_share_back(pace: QuotaWindow) -> None:
    """Six calls were out when it closed, and turn out to have been made before."""
    calls_at(pace, 59.0, most=6)
    assert calls_at(pace, 61.0, most=1) == 1
    for _ in range(6):
        pace.on_answer(RateStatus(13, 62.0), 61.0)
    assert calls_at(pace, 61.0) == 15


def test_calls_lost_over_the_end_do_not_block_the_crawl_for_ever(pace: QuotaWindow) -> None:
    """Sixteen calls whose answers never come, or come without numbers: the share comes back."""
    calls_at(pace, 59.0, most=16)
    for _ in range(8):
        pace.on_answer(None, 61.5)
    assert calls_at(pace, 130.0) == 16


def test_a_late_answer_of_this_window_brings_nothing_back(pace: QuotaWindow) -> None:
    """Answers overtake each other: the fewest credits are the truth, the earliest end as well."""
    calls_at(pace, 1.0, most=2, priority=Priority.RENEWAL)
    pace.on_answer(RateStatus(5, 60.5), 1.5)
    pace.on_answer(RateStatus(6, 75.0), 16.0)
    assert pace.status(16.0)[:3] == (5, 20, 44.0)


def test_a_window_joined_late_is_not_taken_for_two() -> None:
    """Two answers of its last seconds, one much delayed, are of one window all the same."""
    pace = QuotaWindow(credits=20, window_s=60.0, reserve=0.2)
    calls_at(pace, 0.0, most=2, priority=Priority.RENEWAL)
    pace.on_answer(RateStatus(3, 2.0), 0.0)
    pace.on_answer(RateStatus(4, 3.5), 1.5)
    assert pace.status(1.5)[:3] == (3, 20, 0.5)


def test_a_new_window_while_the_clock_stood_still(pace: QuotaWindow) -> None:
    """Suspended at 10 s for an hour the clock does not count: the server's word is believed."""
    calls_at(pace, 10.0, most=15)
    for _ in range(14):
        pace.on_answer(RateStatus(4, 60.0), 10.0)
    pace.on_answer(RateStatus(19, 100.0), 40.0)
    assert pace.status(40.0)[:3] == (19, 20, 60.0)
    assert calls_at(pace, 40.0) >= 14


def test_a_late_refusal_does_not_give_a_second_share(pace: QuotaWindow) -> None:
    """A 429 of the last window, come late, delays this one and forgets none of its calls."""
    calls_at(pace, 59.0, most=1, priority=Priority.RENEWAL)
    calls_at(pace, 61.0, most=2)
    pace.on_answer(RateStatus(18, 121.0), 61.2)
    pace.on_answer(RateStatus(0, 62.0), 61.5)
    pace.on_refused(1.0, 61.5)
    assert calls_at(pace, 61.6) == 0
    assert calls_at(pace, 64.0) == 1, "one call shows whether the refusal is over"
    pace.on_accepted()
    assert calls_at(pace, 64.0) == 12


def test_a_refusal_is_not_a_limit_of_one(pace: QuotaWindow) -> None:
    """Nothing left of a window that looks new: that was a 429, not a tiny account."""
    for _ in range(5):
        pace.on_answer(RateStatus(0, 180.0), 120.0)
        pace.on_refused(60.0, 120.0)
    assert pace.limit == 20


def test_others_who_open_the_window_do_not_lower_the_limit(pace: QuotaWindow) -> None:
    """Two credits gone as it opens are two calls; most of them gone is a smaller account."""
    pace.on_sent(LISTED, 61.0)
    pace.on_answer(RateStatus(17, 121.0), 61.0)
    assert pace.limit == 20
    pace.on_sent(LISTED, 122.0)
    pace.on_answer(RateStatus(8, 182.0), 122.0)
    assert pace.limit == 9


def test_a_smaller_limit_that_shows_late_is_believed_after_some_windows() -> None:
    """10 s windows of 5 credits, never said in full, are known after three."""
    pace = QuotaWindow(credits=300, window_s=60.0, reserve=0.2)
    for window in range(8):
        now_s = 20.0 * window
        pace.on_sent(Priority.RENEWAL, now_s)
        pace.on_answer(RateStatus(4, now_s + 10.0), now_s)
    assert (pace.limit, pace.window_s) == (5, 10.0)


def test_how_long_a_queue_takes(pace: QuotaWindow) -> None:
    """The estimate for somebody far back counts whole windows."""
    assert pace.next_slot_s(LISTED, 1.0, ahead=14) == 1.0
    assert pace.next_slot_s(LISTED, 1.0, ahead=15) == 61.0
    assert pace.next_slot_s(LISTED, 1.0, ahead=15 + 16) == 121.0
    assert pace.next_slot_s(Priority.RENEWAL, 1.0, ahead=18) == 1.0
    assert pace.next_slot_s(Priority.RENEWAL, 1.0, ahead=19 + 20) == 121.0


def test_when_an_application_gets_the_next_credit(pace: QuotaWindow) -> None:
    """`QuotaStatus.more_in_s`: nothing while there are some, then until the window has ended."""
    assert pace.status(30.0).more_in_s is None
    assert calls_at(pace, 30.0) == 15
    for _ in range(15):
        pace.on_answer(RateStatus(4, 60.0), 30.0)
    status = pace.status(30.0)
    assert (status.credits_left, status.limit) == (4, 20), "the reserve is still there"
    assert status.resets_in_s == pytest.approx(30.0)
    assert status.more_in_s == pytest.approx(31.0)
    assert pace.status(60.9).more_in_s == pytest.approx(0.1)
    assert pace.status(61.1).more_in_s is None
    pace.on_refused(40.0, 61.1)
    assert pace.status(61.1).more_in_s == pytest.approx(41.0)
    assert pace.status(61.1).refused_for_s == pytest.approx(41.0)
