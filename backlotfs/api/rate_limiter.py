# SPDX-License-Identifier: Apache-2.0
"""The rate limiter of the API: who may spend one of the account's credits, and when.

The server counts calls in windows of fixed length. A window opens with the first call after the
last window has ended. Every answer says how many credits are left and when they come back. Other
tools spend from the same account, so the numbers of the answers are obeyed, and calls in flight
count as spent before they are answered. For a server without such numbers we count ourselves.

- `Priority.RENEWAL` may use all credits that are left.
- All other priorities together use at most ``1 - reserve`` of a window's credits. What other tools
  take counts against the reserve first; if they go beyond it, the limiter leaves them as much as
  they will take in the rest of the window at their pace so far, up to one whole reserve.
- `Priority.BACKGROUND` is spread evenly over the window; the others are not.
- A higher priority goes first; inside one priority, first come, first served.

A process with a *share* of the account (``--api-share 1/100``) makes at most that part of a
window's calls. All priorities but renewals use at most ``1 - reserve`` of this part. Other
processes have shares of their own, so the limiter leaves them no more. If a share is no whole
number of calls, such as 2.4 or 0.6, a random number decides in each window whether it is rounded
up: so all processes of a farm together make as many calls as their shares allow, but not all of
them in the same window.

Waiting for a credit is not a hang: the server says when credits come back, so the wait has a known
end. A caller waits as long as that takes, up to the limiter's ``credit_wait_s``, and a `Deadline`
that it passes does not run meanwhile. A 429 sends the caller back into the queue.

`read_rate` and `retry_after_s` read what an answer says about credits. `QuotaWindow` decides; it is
a pure state machine that is told the time. `ApiRateLimiter` lets threads wait for it.
"""

from __future__ import annotations

import logging
import math
import random
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import IntEnum
from typing import NamedTuple

from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.time_limits import CREDIT_WAIT_S
from backlotfs.errors import Interrupted, RateLimited
from backlotfs.log import events
from backlotfs.untrusted_numbers import decimal_number

log = logging.getLogger(__name__)

#: Credits come back a minute after the first call of a window.
WINDOW_S = 60.0
# a longer wait is a fault or a timestamp in place of seconds; asking again then costs one credit
_LONGEST_WAIT_S = 3600.0
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*s(?:ec(?:ond)?s?)?\b", re.IGNORECASE)
_MOST_SECONDS = 1e10  # some servers name a moment since the epoch


@dataclass(frozen=True, slots=True)
class RateStatus:
    """The account's credits, as an answer names them. Immutable.

    :ivar credits_left: calls that are left in this window.
    :ivar resets_at_s: when the window ends, on the monotonic clock.
    """

    credits_left: int
    resets_at_s: float


#: Headers with the calls that are left, and with the end of the window; the first found counts.
_LEFT = ("X-RateLimit-Credits", "X-RateLimit-Remaining", "RateLimit-Remaining")
_RESET = ("X-RateLimit-Reset", "RateLimit-Reset")


def read_rate(
    headers: Mapping[str, str], *, monotonic_s: float, server_now_s: float
) -> RateStatus | None:
    """The credits that an answer names; None: it names none.

    :param headers: must look names up without regard to case.
    :param server_now_s: seconds since the epoch by the server's clock.
    """
    credits_left = _first(headers, _LEFT)
    if credits_left is None:
        return None
    reset_s = _reset_s(headers, server_now_s)
    return RateStatus(int(credits_left), monotonic_s + (WINDOW_S if reset_s is None else reset_s))


def retry_after_s(message: str, headers: Mapping[str, str], server_now_s: float) -> float | None:
    """Seconds that a 429 asks for: by its message, else its headers; None: it names no time.

    :param server_now_s: seconds since the epoch by the server's clock, for a dated header.
    """
    match = _SECONDS.search(message)
    said_s = float(match[1]) if match else _reset_s(headers, server_now_s)
    if said_s is None:
        said_s = retry_after_header_s(headers.get("Retry-After"), server_now_s)
    return None if said_s is None else min(max(0.0, said_s), _LONGEST_WAIT_S)


#: A year of four digits, as of a server whose "no date" is the first day of year 1.
_FIRST_CENTURY = re.compile(r"(?<![0-9+-])00[0-9]{2}(?![0-9])", re.ASCII)


def http_date_s(value: str | None) -> float | None:
    """The date of a header, in any form of RFC 9110 §5.6.7, in seconds since the epoch.

    None if it is not a date, or there are two different ones.
    """
    # no date is longer, and its parser would read a number of any length
    if value is None or len(value) > 64 or value.count(":") > 2:
        return None
    try:
        moment = parsedate_to_datetime(value)
        year = _FIRST_CENTURY.search(value)
        if year is not None:  # the parser makes 2001 of it
            moment = moment.replace(year=int(year[0]))
        if moment.tzinfo is None:  # asctime names no zone
            moment = moment.replace(tzinfo=UTC)
        seconds = moment.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return seconds if math.isfinite(seconds) else None


def retry_after_header_s(value: str | None, server_now_s: float) -> float | None:
    """A ``Retry-After`` header, in seconds or dated, as seconds from now; None when it is none."""
    seconds = _number(value)
    if seconds is not None:
        return seconds
    moment_s = http_date_s(value)
    return None if moment_s is None else moment_s - server_now_s


def _first(headers: Mapping[str, str], names: Sequence[str]) -> float | None:
    found = (_number(headers.get(name)) for name in names)
    return next((value for value in found if value is not None), None)


def _reset_s(headers: Mapping[str, str], server_now_s: float) -> float | None:
    """Seconds until the window ends: some servers name them, others the moment since the epoch."""
    stated = _first(headers, _RESET)
    if stated is None:
        return None
    seconds = stated - server_now_s if stated > _LONGEST_WAIT_S else stated
    return seconds if 0 <= seconds <= _LONGEST_WAIT_S else None


def _number(value: str | None) -> float | None:
    return decimal_number(value, most=_MOST_SECONDS)


#: Credits are low below this part of a window. This mount's own calls never use so many.
LOW_SHARE = 0.1

#: The system's random numbers: processes with the same seed would all round up in one window.
_RANDOM = random.SystemRandom()

_REMEMBERED_WINDOWS = 3  # the limit is the most that these have shown
#: If other processes have shares, a window shows only what they have left. So the limit is at least
#: the assumed one. After a refusal it is the most that this many windows have shown.
_REMEMBERED_BESIDE_OTHERS = 20
_MUCH_LESS = 0.75
_END_MARGIN_S = 1.0  # the server names whole seconds, so the end of a window is not known better
_LEAD = 0.05  # the background has used its share this part of a window before the end
_LOOK_S = 1.0  # longest wait without a new look: the clock may jump when a machine wakes
#: Pause after a 429 that names no time; it doubles with each further one, up to the second number.
_FIRST_BACKOFF_S, _LAST_BACKOFF_S = 1.0, 60.0


class Priority(IntEnum):
    """What a call is for; the smaller number goes first."""

    RENEWAL = 0  #: the URL of a file expired while the file is read
    WAITING = 1  #: an application waits for a size, or for the first bytes of a file
    LISTED = 2  #: a folder was listed; its files are probably needed next
    BACKGROUND = 3  #: no program waits


class QuotaStatus(NamedTuple):
    """The account's credits at one moment, for displays.

    :ivar credits_left: calls that can still be made, without those in flight.
    :ivar limit: credits of a whole window, as far as known.
    :ivar resets_in_s: seconds until they come back; None when no window is open.
    :ivar refused_for_s: seconds for which a 429 still forbids every call; 0.0: it does not.
    :ivar more_in_s: seconds until an application's call can be made; None: it can be made now.
    :ivar waiting: calls that wait for a credit, by `Priority`.
    :ivar share: calls of a window that this process may make; a mean, such as 0.6; None: all.
    :ivar share_left: how many of them it may still make in this window; None: all that are left.
    """

    credits_left: int
    limit: int
    resets_in_s: float | None
    refused_for_s: float
    more_in_s: float | None
    waiting: tuple[int, ...]
    share: float | None = None
    share_left: int | None = None


class QuotaWindow:
    """When a call of each priority may be made. Pure: no clock, no lock; its owner locks.

    Every ``now_s`` is a moment on the monotonic clock; it may jump ahead, never back.

    :ivar window_s: length of a window in seconds, as far as known.
    """

    def __init__(
        self,
        *,
        credits: int,
        window_s: float,
        reserve: float,
        share: float = 1.0,
        chance: Callable[[], float] = _RANDOM.random,
    ) -> None:
        """Assume ``credits`` in ``window_s`` until the server says otherwise.

        :param reserve: part of the credits, 0 to below 1, for `Priority.RENEWAL` and other tools.
        :param share: part of the account's credits, above 0 to 1, that is this process's.
        :param chance: a number from 0 to below 1, asked for once in each window of a share.
        :raises ValueError: a number is out of range.
        """
        if credits < 1 or not window_s > 0 or not 0 <= reserve < 1 or not 0 < share <= 1:
            raise ValueError(
                f"no such quota: {credits} in {window_s} s, reserve {reserve}, share {share}"
            )
        self._reserve = reserve
        self._part = share
        self._chance = chance
        self.window_s = window_s
        self._limits = (
            deque([credits] * _REMEMBERED_WINDOWS, _REMEMBERED_WINDOWS)
            if share == 1
            else deque[int]([], _REMEMBERED_BESIDE_OTHERS)
        )
        self._assumed = credits
        self._scarce = 0  # number of windows for which the limit is what they show, see `limit`
        self._in_flight: deque[float] = deque()  # when each call was sent, oldest first
        self._refused_until_s = -math.inf
        self._refusals = 0  # without a time, one after the other
        self._doubtful = False  # no call was accepted since the last refusal
        self._trial_s = -math.inf  # when the call was sent that tests whether the refusal is over
        self._last_background_s = -math.inf
        self._previous_end_s = -math.inf  # of the last window that the server named
        self._near_s = window_s / 2  # two windows end at least a whole length apart
        # whether we opened the window; an answer named its end; any answer came
        self._open = self._confirmed = self._heard = False
        self._ends_s = self._told_s = -math.inf  # its end; when we last learned of it
        # credits left, with those of calls in flight; calls that count against the share; all calls
        self._left, self._share_used, self._used = credits, 0, 0
        # added to a share before it is rounded down, in this window; and since when
        self._rounding, self._rounding_since_s = chance() if share < 1 else 0.0, -math.inf

    @property
    def limit(self) -> int:
        """Credits of a whole window, as far as known."""
        shown = max(self._limits, default=self._assumed)
        return shown if self._part == 1 or self._scarce else max(shown, self._assumed)

    def status(self, now_s: float, waiting: tuple[int, ...] = (0, 0, 0, 0)) -> QuotaStatus:
        """The quota now; ``waiting`` is passed on."""
        self._advance(now_s)
        left = max(0, self._left - len(self._in_flight))
        resets_in_s = max(0.0, self._ends_s - now_s) if self._open else None
        refused_s = max(0.0, self._refused_until_s - now_s)
        slot_s = self.next_slot_s(Priority.WAITING, now_s)
        more_in_s = slot_s - now_s if slot_s > now_s else None
        share = share_left = None
        if self._part < 1:
            share = self.limit * self._part
            share_left = max(0, min(self._budget - self._used, left))
        return QuotaStatus(
            left, self.limit, resets_in_s, refused_s, more_in_s, waiting, share, share_left
        )

    def next_slot_s(self, priority: Priority, now_s: float, ahead: int = 0) -> float:
        """When a call may be made, after ``ahead`` others; a moment after ``now_s`` is a guess."""
        self._advance(now_s)
        free = self._allowance(priority)
        start_s = max(now_s, self._refused_until_s)
        if self._doubtful and now_s - self._trial_s < self.window_s:
            start_s = max(start_s, now_s + _LOOK_S)
        gap_s = self._gap_s(free, now_s) if priority is Priority.BACKGROUND else 0.0
        if ahead < free:
            return max(start_s, self._last_background_s + gap_s) + ahead * gap_s
        # if no window is open, this is a guess until the next answer comes
        opens_s = self._ends_s + self._margin_s if self._open else now_s + self.window_s
        if self._part < 1 and not self._open:  # the share of this window was rounded down to 0
            opens_s = self._rounding_since_s + self.window_s
        windows = (ahead - max(0, free) + 1) / self._calls_a_window(priority)
        return max(start_s, opens_s) + (math.ceil(windows - 1e-9) - 1) * self.window_s

    def on_sent(self, priority: Priority, now_s: float) -> None:
        """Count a call that is sent now."""
        self._advance(now_s)
        if not self._open:
            self._open, self._told_s, self._ends_s = True, now_s, now_s + self.window_s
        self._in_flight.append(now_s)
        if self._doubtful:
            self._trial_s = now_s
        self._used += 1
        if priority is not Priority.RENEWAL:
            self._share_used += 1
        if priority is Priority.BACKGROUND:
            self._last_background_s = now_s

    def on_returned(self, priority: Priority, now_s: float) -> None:
        """Take back a call that `on_sent` counted and that was not made."""
        self._advance(now_s)
        self._trial_s = -math.inf
        if self._in_flight:
            self._in_flight.popleft()
        self._used = max(0, self._used - 1)
        if priority is not Priority.RENEWAL:
            self._share_used = max(0, self._share_used - 1)

    def on_answer(self, status: RateStatus | None, now_s: float) -> None:
        """Count the answer to a call; ``status`` None: it said nothing, or none came."""
        self._advance(now_s)
        self._trial_s = -math.inf
        # the call was sent at this time or later, because answers can overtake each other
        sent_s = self._in_flight.popleft() if self._in_flight else -math.inf
        if status is None:
            self._left, self._told_s = self._left - 1, now_s
            if self._open and not self._heard:  # the server's window opened before this moment
                self._ends_s, self._heard = now_s + self.window_s, True
            return
        if not self._confirmed:
            ended_s = self._previous_end_s
            if status.resets_at_s > ended_s + self._near_s or sent_s >= ended_s + _END_MARGIN_S:
                self._confirm(status, now_s)
            else:  # the call belongs to the last window, so it does not count in this one
                self._share_used = max(0, self._share_used - 1)
                self._used = max(0, self._used - 1)
        elif abs(status.resets_at_s - self._ends_s) <= self._near_s:
            # answers can overtake each other; a delay makes the end later, so the earliest counts
            self._left, self._told_s = min(self._left, status.credits_left), now_s
            self._ends_s = min(self._ends_s, status.resets_at_s)
            if self._limits:
                self._limits[-1] = max(self._limits[-1], status.credits_left + 1)
        elif status.resets_at_s > self._ends_s:
            # a new window began unnoticed: any of our later calls may have been made in it
            self._confirm(status, now_s)
            spent = self.limit - status.credits_left + len(self._in_flight)
            self._share_used = min(self._share_used, spent)
            self._used = min(self._used, spent)

    def on_refused(self, retry_after_s: float | None, now_s: float) -> None:
        """Allow no call for so many seconds after a 429; None: it named no time."""
        self._advance(now_s)
        self._doubtful = True
        self._scarce = _REMEMBERED_BESIDE_OTHERS
        if retry_after_s is None:
            if now_s < self._refused_until_s:
                return  # the call was sent before the last refusal was known
            doublings = min(self._refusals, 10)
            retry_after_s = min(_LAST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0**doublings)
            self._refusals += 1
        until_s = now_s + max(0.0, retry_after_s) + self._margin_s
        self._refused_until_s = max(self._refused_until_s, until_s)

    def on_accepted(self) -> None:
        """Count an answer that is no 429: the next pause without a time is short again."""
        self._refusals, self._doubtful = 0, False

    @property
    def _share(self) -> int:
        """Calls of a window that all but `Priority.RENEWAL` may make; at least one of a whole."""
        return self._share_of(self.limit)

    def _share_of(self, limit: int) -> int:
        calls = math.floor(limit * self._part * (1 - self._reserve) + self._rounding + 1e-9)
        return calls if self._part < 1 else max(1, calls)

    @property
    def _budget(self) -> int:
        """Calls of a window that all priorities together may make."""
        return math.floor(self.limit * self._part + self._rounding + 1e-9)

    def _calls_a_window(self, priority: Priority) -> float:
        """The same for one priority, as a mean over many windows."""
        if self._part == 1:
            return self.limit if priority is Priority.RENEWAL else self._share
        calls = self.limit * self._part
        return calls if priority is Priority.RENEWAL else calls * (1 - self._reserve)

    @property
    def _margin_s(self) -> float:
        return min(_END_MARGIN_S, self.window_s * _LEAD)

    def _allowance(self, priority: Priority) -> int:
        """Calls of this priority that can be made before the window ends."""
        left = self._left - len(self._in_flight)
        if self._part < 1:  # others have shares: nothing needs to be left to them
            free = min(self._budget - self._used, left)
            return (
                free if priority is Priority.RENEWAL else min(self._share - self._share_used, free)
            )
        if priority is Priority.RENEWAL:
            return left
        # Before its first answer, a window may be as small as the smallest that was seen.
        share = self._share if self._confirmed else self._share_of(min(self._limits))
        return min(share - self._share_used, left - self._held_back(left))

    def _held_back(self, left: int) -> int:
        """Credits that others will use before the window ends, if they continue at their pace."""
        others = self.limit - left - self._share_used
        if not self._open or others <= 0:
            return 0
        # counted from the last answer on, so what they took since then is included
        rest_s = max(0.0, self._ends_s - self._told_s)
        elapsed_s = max(self.window_s - rest_s, 1e-3)
        return min(self.limit - self._share, math.ceil(others * rest_s / elapsed_s))

    def _gap_s(self, free: int, now_s: float) -> float:
        rest_s = self._ends_s - now_s if self._open else self.window_s
        return max(0.0, rest_s - self.window_s * _LEAD) / max(1, free)

    def _advance(self, now_s: float) -> None:
        """Close the window when it is over, and forget calls whose answers never came."""
        while self._in_flight and now_s - self._in_flight[0] > self.window_s:
            self._in_flight.popleft()
        if self._open and now_s >= self._ends_s + self._margin_s:
            if self._confirmed:
                self._previous_end_s = self._ends_s
            self._open = self._confirmed = self._heard = False
            self._rounding_since_s = -math.inf
        if not self._open:  # the server may count what is in flight in its next window
            self._left, self._share_used = self.limit, len(self._in_flight)
            self._used = self._share_used
            if self._part < 1 and now_s - self._rounding_since_s >= self.window_s:
                self._rounding, self._rounding_since_s = self._chance(), now_s

    def _confirm(self, status: RateStatus, now_s: float) -> None:
        """Take the limit, length and end of a window from the first answer that names it."""
        self._scarce = max(0, self._scarce - 1)
        length_s = status.resets_at_s - now_s
        # windows end at least a whole length apart; the server names whole seconds
        apart_s = status.resets_at_s - self._previous_end_s
        self.window_s = min(self.window_s, max(apart_s, length_s))
        if status.credits_left > 0:  # 0 may be a 429, which says nothing of limit and length
            shown = status.credits_left + 1
            is_new = length_s >= self.window_s - _END_MARGIN_S - self._margin_s
            # if many credits are missing so early, the limit is smaller; a few may be used already
            is_sure = self._part == 1 and is_new and shown < _MUCH_LESS * self.limit
            self._limits.extend([shown] * (_REMEMBERED_WINDOWS if is_sure else 1))
            is_whole = shown == self.limit and length_s >= _END_MARGIN_S
            if length_s > self.window_s or (is_whole and not is_new):
                self.window_s = length_s
        # a window that we joined late is longer than the part that we saw
        self._near_s = max(length_s / 2, self.window_s / 4)
        self._open = self._confirmed = self._heard = True
        self._ends_s, self._told_s, self._left = status.resets_at_s, now_s, status.credits_left


class Purpose(NamedTuple):
    """The purpose of a call, as the rate limiter has to know it.

    :ivar key: what the call is about, mostly an embed code: see `ApiRateLimiter.is_queued`.
    :ivar turn: a turn that was taken for it already, by `ApiRateLimiter.try_acquire`.
    """

    priority: Priority
    key: str = ""
    turn: Turn | None = None


class Turn:
    """The right to make one call, taken before it is known which call that is.

    Use it in a ``with`` statement: a turn that no call has used goes back to the limiter.
    """

    __slots__ = ("_give_back", "_used")

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = give_back
        self._used = False

    def use(self) -> bool:
        """Whether the turn was still there to be used; it is used now."""
        fresh, self._used = not self._used, True
        return fresh

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        if self.use():
            self._give_back()


class _Place:
    """One caller's place in the queue."""

    __slots__ = ("changed", "key", "priority")

    def __init__(self, priority: Priority, key: str, changed: threading.Condition) -> None:
        self.priority = priority
        self.key = key
        self.changed = changed


class ApiRateLimiter:
    """Makes callers wait for their turn. Any thread may call it; one private lock.

    A server whose answers do not name credits has no limit (an archive, an emulator without one):
    then no call waits, except after a 429.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        credits: int = 300,
        window_s: float = WINDOW_S,
        reserve: float = 0.2,
        share: float = 1.0,
        credit_wait_s: float = CREDIT_WAIT_S,
        wait: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> None:
        """See `QuotaWindow` for the numbers.

        :param credit_wait_s: longest wait of one call for a credit.
        :param wait: waits on a held condition, for so many seconds at most.
        :raises ValueError: a number is out of range.
        """
        self.credit_wait_s = credit_wait_s
        self._clock = clock
        self._wait = wait
        self._window = QuotaWindow(credits=credits, window_s=window_s, reserve=reserve, share=share)
        self._lock = threading.RLock()
        self._queues: tuple[deque[_Place], ...] = tuple(deque() for _ in Priority)
        self._queued_keys: Counter[str] = Counter()
        self._speaks = False  # whether any answer has named credits
        self._free_of_charge = False
        self._closed = False

    def acquire(
        self,
        priority: Priority,
        *,
        key: str = "",
        deadline: Deadline | None = None,
        waited_s: float = 0.0,
    ) -> None:
        """Wait until a call may be made. Then call `answered`, `refused` or `failed`, once.

        :param key: names what the call is about: see `is_queued` and `raise_priority`.
        :param deadline: of the caller's operation; it is extended by the time waited here.
        :param waited_s: how long the same operation has waited for credits before.
        :raises RateLimited: no credit came within ``credit_wait_s``, ``waited_s`` included.
        :raises Interrupted: `close` was called.
        """
        began_s = self._clock.monotonic()
        try:
            with self._lock:
                self._check_open()
                if self._free_of_charge:
                    return
                place = _Place(priority, key, threading.Condition(self._lock))
                self._queues[priority].append(place)
                self._queued_keys[key] += 1
            self._wait_in_queue(place, began_s - waited_s)
        finally:
            if deadline is not None:
                deadline.add_queued(self._clock.monotonic() - began_s)

    def try_acquire(self, priority: Priority) -> Turn | None:
        """Take a turn, if a call may be made now and none of this or a higher priority waits.

        :raises Interrupted: `close` was called.
        """
        with self._lock:
            self._check_open()
            if self._free_of_charge:
                return Turn(lambda: None)
            now_s = self._clock.monotonic()
            if any(self._queues[: priority + 1]):
                return None
            if self._window.next_slot_s(priority, now_s) > now_s:
                return None
            self._window.on_sent(priority, now_s)
        return Turn(lambda: self.returned(priority))

    def answered(self, status: RateStatus | None) -> None:
        """Count an answer that is no 429; ``status``: the credits that it names, or None."""
        with self._lock:
            self._speaks |= status is not None
            self._free_of_charge = not self._speaks
            self._window.on_accepted()
            if not self._free_of_charge:
                self._window.on_answer(status, self._clock.monotonic())
            self._wake_first()
        self._report()

    def returned(self, priority: Priority) -> None:
        """Give back the credit of a call that is not made after all."""
        with self._lock:
            if not self._free_of_charge:
                self._window.on_returned(priority, self._clock.monotonic())
            self._wake_first()

    def failed(self) -> None:
        """Count a call that ended without an answer."""
        with self._lock:
            if not self._free_of_charge:
                self._window.on_answer(None, self._clock.monotonic())
            self._wake_first()

    def refused(self, retry_after_s: float | None) -> None:
        """Count a 429, and make no call for so long.

        :param retry_after_s: seconds that the answer asked for; None: it named none.
        """
        with self._lock:
            now_s = self._clock.monotonic()
            status = None if retry_after_s is None else RateStatus(0, now_s + retry_after_s)
            self._free_of_charge = False
            self._window.on_answer(status, now_s)
            self._window.on_refused(retry_after_s, now_s)
            self._wake_first()
        self._report()

    def wait_s(self, priority: Priority, ahead: int = 0) -> float:
        """Seconds until a call can be made after ``ahead`` others of its kind; 0.0: now."""
        with self._lock:
            if self._free_of_charge:
                return 0.0
            now_s = self._clock.monotonic()
            ahead += sum(map(len, self._queues[: priority + 1]))
            return max(0.0, self._window.next_slot_s(priority, now_s, ahead) - now_s)

    def is_queued(self, key: str) -> bool:
        """Whether a call about ``key`` waits for a credit."""
        return key in self._queued_keys

    def raise_priority(self, key: str, priority: Priority) -> None:
        """Move the calls about ``key`` that wait to a higher priority."""
        if key not in self._queued_keys:
            return
        with self._lock:
            for lower in self._queues[priority + 1 :]:
                for place in [place for place in lower if place.key == key]:
                    lower.remove(place)
                    place.priority = priority
                    self._queues[priority].append(place)
            self._wake_first()

    def status(self) -> QuotaStatus:
        """The account's credits now, for displays."""
        with self._lock:
            waiting = tuple(len(queue) for queue in self._queues)
            return self._window.status(self._clock.monotonic(), waiting)

    @property
    def counts_credits(self) -> bool:
        """Whether calls cost something, as far as known."""
        return not self._free_of_charge

    def close(self) -> None:
        """End every wait, now and later, with `Interrupted`, because the mount ends."""
        with self._lock:
            self._closed = True
            for queue in self._queues:
                for place in queue:
                    place.changed.notify()

    def _wait_in_queue(self, place: _Place, began_s: float) -> None:
        try:
            while True:
                with self._lock:
                    self._check_open()
                    now_s = self._clock.monotonic()
                    if self._free_of_charge:
                        return
                    is_first = self._first() is place
                    wait_s = self._window.next_slot_s(place.priority, now_s) - now_s
                    if is_first and wait_s <= 0:
                        self._window.on_sent(place.priority, now_s)
                        return
                    left_s = began_s + self.credit_wait_s - now_s
                    if left_s <= 0:
                        raise RateLimited(
                            f"no API credit came within {self.credit_wait_s:.0f} s",
                            retry_after_s=max(0.0, wait_s),
                        )
                    # Only the first one watches the clock; when it leaves, it wakes the next one.
                    longest_s = min(_LOOK_S, wait_s) if is_first and wait_s > 0 else _LOOK_S
                    self._wait(place.changed, min(longest_s, left_s))
                if is_first:
                    self._report()
        finally:
            with self._lock:
                self._queues[place.priority].remove(place)
                self._queued_keys[place.key] -= 1
                if not self._queued_keys[place.key]:
                    del self._queued_keys[place.key]
                self._wake_first()

    def _report(self) -> None:
        """Log that credits are low or spent; the log leaves out lines that repeat too soon.

        Call it without the lock, because logging may block.
        """
        if not self.counts_credits:
            return
        status = self.status()
        waiting, more_in_s = sum(status.waiting), status.more_in_s
        if waiting and more_in_s is not None:
            events.CREDITS_AWAITED.log(log, waiting=waiting, seconds=math.ceil(more_in_s))
        elif status.refused_for_s > 0:
            events.CREDITS_REFUSED.log(log, seconds=math.ceil(status.refused_for_s))
        elif status.credits_left < status.limit * LOW_SHARE:
            events.CREDITS_LOW.log(
                log,
                left=status.credits_left,
                limit=status.limit,
                seconds=math.ceil(status.resets_in_s or 0.0),
            )

    def _first(self) -> _Place | None:
        return next((queue[0] for queue in self._queues if queue), None)

    def _wake_first(self) -> None:
        first = self._first()
        if first is not None:
            first.changed.notify()

    def _check_open(self) -> None:
        if self._closed:
            raise Interrupted("waiting for an API credit: the mount ends")
