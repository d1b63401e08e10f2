"""Who may spend one of the account's API credits, and when.

The server counts calls in windows of fixed length; one opens with the first call after the last
has ended, and every answer says how many credits are left and when they come back. Other tools
spend from the same purse, so the answers' numbers are obeyed, and calls in flight count as spent
before they are answered. For a server without such numbers we count ourselves.

- `Priority.WAITING` may use all that is left.
- `LISTED` and `BACKGROUND` together make at most ``1 - reserve`` of a window's calls. What others
  take counts against the reserve first; if they go beyond it, as much as they will take in the
  rest of the window at their pace so far is left to them, up to one whole reserve.
- `BACKGROUND` is spread evenly over the window; `LISTED`, behind which an ``ls`` stands, is not.
- Higher priority first; first come, first served inside one.

`Pace` decides, a pure state machine that is told the time. `RateBudget` lets threads wait for it.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from backlotfs.api.rate_status import RateStatus
from backlotfs.clock import Clock, Deadline
from backlotfs.errors import Interrupted, RateLimited
from backlotfs.waiting import POLL_S

_REMEMBERED_WINDOWS = 3  # the limit is the most that these have shown
_MUCH_LESS = 0.75
_END_MARGIN_S = 1.0  # the server speaks of whole seconds: a window's end is known no better
_LEAD = 0.05  # the background is done with its share this part of a window before the end
_LOOK_S = 1.0  # longest wait without a new look: the clock may jump when a machine wakes


class Priority(IntEnum):
    """What a call is for; the smaller number goes first."""

    WAITING = 0  #: an application waits for it
    LISTED = 1  #: a directory is being listed; its files will be asked for next
    BACKGROUND = 2  #: nobody waits


class BudgetStatus(NamedTuple):
    """The budget at one moment, for displays.

    :ivar credits_left: calls that can still be made, those in flight taken off.
    :ivar limit: credits of a whole window, as far as known.
    :ivar resets_in_s: until they come back; None when no window is open.
    :ivar refused_for_s: for how long a 429 still forbids every call; 0.0 mostly.
    :ivar waiting: callers that wait, by `Priority`.
    """

    credits_left: int
    limit: int
    resets_in_s: float | None
    refused_for_s: float
    waiting: tuple[int, int, int]


class Pace:
    """When a call of each priority may be made. Pure: no clock, no lock; belongs to its owner.

    Every ``now_s`` is a moment on the monotonic clock; it may jump ahead, never back.

    :ivar window_s: length of a window in seconds, as far as known.
    """

    def __init__(self, *, credits: int, window_s: float, reserve: float) -> None:
        """``credits`` in ``window_s`` are believed until the server says otherwise.

        :param reserve: share of them, 0 to below 1, for `Priority.WAITING` and others only.
        :raises ValueError: for numbers that cannot be meant.
        """
        if credits < 1 or not window_s > 0 or not 0 <= reserve < 1:
            raise ValueError(f"no such budget: {credits} in {window_s} s, reserve {reserve}")
        self._reserve = reserve
        self.window_s = window_s
        self._limits = deque([credits] * _REMEMBERED_WINDOWS, _REMEMBERED_WINDOWS)
        self._in_flight: deque[float] = deque()  # when each was granted, oldest first
        self._refused_until_s = -math.inf
        self._last_background_s = -math.inf
        self._previous_end_s = -math.inf  # of the last window the server spoke of
        self._near_s = window_s / 2  # two windows end at least a whole length apart
        # the window: opened by us; spoken of by an answer; some answer came
        self._open = self._confirmed = self._heard = False
        self._ends_s = self._told_s = -math.inf  # its end; when we last learned of it
        # credits left, calls in flight not taken off; calls made that were not for WAITING
        self._left, self._crawled = credits, 0

    @property
    def limit(self) -> int:
        """Credits of a whole window, as far as known."""
        return max(self._limits)

    def status(self, now_s: float, waiting: tuple[int, int, int] = (0, 0, 0)) -> BudgetStatus:
        """The budget now; ``waiting`` is passed on."""
        self._advance(now_s)
        left = max(0, self._left - len(self._in_flight))
        resets_in_s = max(0.0, self._ends_s - now_s) if self._open else None
        refused_s = max(0.0, self._refused_until_s - now_s)
        return BudgetStatus(left, self.limit, resets_in_s, refused_s, waiting)

    def next_slot_s(self, priority: Priority, now_s: float, ahead: int = 0) -> float:
        """When a call may be made, after ``ahead`` others; a moment after ``now_s`` is a guess."""
        self._advance(now_s)
        free = self._allowance(priority)
        start_s = max(now_s, self._refused_until_s)
        gap_s = self._gap_s(free, now_s) if priority is Priority.BACKGROUND else 0.0
        if ahead < free:
            return max(start_s, self._last_background_s + gap_s) + ahead * gap_s
        a_window = self.limit if priority is Priority.WAITING else self._share
        # without an open window answers are due that tell more, or at worst never come
        opens_s = self._ends_s + self._margin_s if self._open else now_s + self.window_s
        return max(start_s, opens_s) + (ahead - max(0, free)) // a_window * self.window_s

    def granted(self, priority: Priority, now_s: float) -> None:
        """A call is made now."""
        self._advance(now_s)
        if not self._open:
            self._open, self._told_s, self._ends_s = True, now_s, now_s + self.window_s
        self._in_flight.append(now_s)
        if priority is not Priority.WAITING:
            self._crawled += 1
        if priority is Priority.BACKGROUND:
            self._last_background_s = now_s

    def answered(self, status: RateStatus | None, now_s: float) -> None:
        """A granted call has ended; ``status`` None: the answer said nothing, or none came."""
        self._advance(now_s)
        if self._in_flight:
            self._in_flight.popleft()
        if status is None:
            self._left, self._told_s = self._left - 1, now_s
            if self._open and not self._heard:  # the server's window opened before this moment
                self._ends_s, self._heard = now_s + self.window_s, True
            return
        if not self._confirmed:
            if status.resets_at_s > self._previous_end_s + self._near_s:
                self._confirm(status, now_s)
            else:  # the last window's: it was not to be counted in this one
                self._crawled = max(0, self._crawled - 1)
        elif abs(status.resets_at_s - self._ends_s) <= self._near_s:
            # answers overtake each other, and the way here only ever adds to the end
            self._left, self._told_s = min(self._left, status.credits_left), now_s
            self._ends_s = min(self._ends_s, status.resets_at_s)
            self._limits[-1] = max(self._limits[-1], status.credits_left + 1)
        elif status.resets_at_s > self._ends_s:
            # a new window before we knew: any of our calls since may have been made in it
            self._confirm(status, now_s)
            spent = self.limit - status.credits_left + len(self._in_flight)
            self._crawled = min(self._crawled, spent)

    def refused(self, retry_after_s: float, now_s: float) -> None:
        """A 429: no call for so long. What the window has left is for `answered` to tell."""
        self._advance(now_s)
        until_s = now_s + max(0.0, retry_after_s) + self._margin_s
        self._refused_until_s = max(self._refused_until_s, until_s)

    @property
    def _share(self) -> int:
        """Calls of a window that are not for a waiting application; at least one."""
        return max(1, math.floor(self.limit * (1 - self._reserve) + 1e-9))

    @property
    def _margin_s(self) -> float:
        return min(_END_MARGIN_S, self.window_s * _LEAD)

    def _allowance(self, priority: Priority) -> int:
        """Calls of this priority that can be made before the window ends."""
        left = self._left - len(self._in_flight)
        if priority is Priority.WAITING:
            return left
        return min(self._share - self._crawled, left - self._held_back(left))

    def _held_back(self, left: int) -> int:
        """Credits that others will want before the window ends, if they go on as they began."""
        others = self.limit - left - self._crawled
        if not self._open or others <= 0:
            return 0
        # what they took since the last word of the server is part of it
        rest_s = max(0.0, self._ends_s - self._told_s)
        elapsed_s = max(self.window_s - rest_s, 1e-3)
        return min(self.limit - self._share, math.ceil(others * rest_s / elapsed_s))

    def _gap_s(self, free: int, now_s: float) -> float:
        rest_s = self._ends_s - now_s if self._open else self.window_s
        return max(0.0, rest_s - self.window_s * _LEAD) / max(1, free)

    def _advance(self, now_s: float) -> None:
        """Close the window when it is over, and give up on answers that never came."""
        while self._in_flight and now_s - self._in_flight[0] > self.window_s:
            self._in_flight.popleft()
        if self._open and now_s >= self._ends_s + self._margin_s:
            if self._confirmed:
                self._previous_end_s = self._ends_s
            self._open = self._confirmed = self._heard = False
        if not self._open:  # the server may count what is in flight in its next window
            self._left, self._crawled = self.limit, len(self._in_flight)

    def _confirm(self, status: RateStatus, now_s: float) -> None:
        """The server speaks of a window for the first time: learn from it."""
        length_s = status.resets_at_s - now_s
        if status.credits_left > 0:  # 0 may be a 429, which says nothing of limit and length
            shown = status.credits_left + 1
            is_new = length_s >= self.window_s - _END_MARGIN_S
            # much missing so early is a smaller limit; a little may be others, or our own calls
            is_sure = is_new and shown < _MUCH_LESS * self.limit
            self._limits.extend([shown] * (_REMEMBERED_WINDOWS if is_sure else 1))
            is_whole = shown == self.limit and length_s >= _END_MARGIN_S
            if length_s > self.window_s or (is_whole and not is_new):
                self.window_s = length_s
        self._near_s = max(length_s / 2, self.window_s / 4)  # one joined late is longer than seen
        self._open = self._confirmed = self._heard = True
        self._ends_s, self._told_s, self._left = status.resets_at_s, now_s, status.credits_left


class RateBudget:
    """Lets callers wait for their turn. Any thread may call any method; one private lock."""

    def __init__(
        self,
        clock: Clock,
        *,
        credits: int = 300,
        window_s: float = 60.0,
        reserve: float = 0.2,
        wait: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> None:
        """See `Pace` for the numbers; ``wait`` waits on the held condition, for seconds at most.

        :raises ValueError: for numbers that cannot be meant.
        """
        self._clock = clock
        self._wait = wait
        self._pace = Pace(credits=credits, window_s=window_s, reserve=reserve)
        self._changed = threading.Condition()
        self._queues: tuple[deque[object], ...] = tuple(deque() for _ in Priority)

    def acquire(
        self,
        priority: Priority,
        deadline: Deadline,
        interrupted: Callable[[], bool] | None = None,
    ) -> None:
        """Return when one call may be made at once; each `acquire` wants one `answered`.

        :param interrupted: whether the caller is gone; asked every `POLL_S` from this thread.
        :raises RateLimited: as soon as it is clear that the wait would pass the deadline.
        :raises DeadlineExceeded: when no time was left to begin with.
        :raises Interrupted: when the caller is gone.
        """
        longest_s = _LOOK_S if interrupted is None else POLL_S
        place, higher = object(), self._queues[:priority]
        with self._changed:
            self._queues[priority].append(place)
            try:
                while True:
                    now_s = self._clock.monotonic()
                    ahead = self._queues[priority].index(place) + sum(map(len, higher))
                    wait_s = self._pace.next_slot_s(priority, now_s, ahead) - now_s
                    deadline.check("waiting for an API credit")
                    if ahead == 0 and wait_s <= 0:
                        self._pace.granted(priority, now_s)
                        return
                    if interrupted is not None and interrupted():
                        raise Interrupted("waiting for an API credit: the caller is gone")
                    if wait_s > deadline.remaining_s():
                        message = f"the account's API credits are spent; more in {wait_s:.0f} s"
                        raise RateLimited(message, retry_after_s=wait_s)
                    # the first in the queue wakes this one when it goes
                    self._wait(self._changed, min(longest_s, wait_s if wait_s > 0 else longest_s))
            finally:
                self._queues[priority].remove(place)
                self._changed.notify_all()

    def answered(self, status: RateStatus | None) -> None:
        """A call has ended, however it did; ``status``: what the answer said of credits, if any."""
        with self._changed:
            self._pace.answered(status, self._clock.monotonic())
            self._changed.notify_all()

    def refused(self, retry_after_s: float) -> None:
        """The answer was a 429 (tell `answered` as well): no call for anybody for so long."""
        with self._changed:
            self._pace.refused(retry_after_s, self._clock.monotonic())
            self._changed.notify_all()

    def snapshot(self) -> BudgetStatus:
        """For status displays."""
        with self._changed:
            waiting, listed, background = (len(queue) for queue in self._queues)
            return self._pace.status(self._clock.monotonic(), (waiting, listed, background))
