"""How many records of a listing to ask for at a time: fewer where the API is slow.

An API may need a fixed time for each record, so that a page of 500 takes longer than anybody waits,
or longer than a proxy before it allows, while one of 20 comes at once. After a time-out the next
smaller size is asked for; after some pages in time a larger one is tried again, each time it fails
twice as late. What was learned stays with the `PageSize`, for later listings.
"""

from __future__ import annotations

import threading

#: Sizes below the first; small enough for 1 s a record within the default time limit.
_SMALLER = (100, 20)
#: Pages in time before a larger size is tried.
_PAGES_BEFORE_LARGER = 3
#: Of slow pages, so many times more.
_SLOW_FACTOR = 5
_MOST_PAGES_BEFORE_LARGER = 10_000


class PageSize:
    """The size to ask for now. Any thread may use it."""

    def __init__(self, largest: int, answer_s: float) -> None:
        """Begin with the largest.

        :param largest: records per page where nothing speaks against it.
        :param answer_s: the limit for one answer, in seconds.
        :raises ValueError: for a size below 1.
        """
        if largest < 1:
            raise ValueError(f"page_limit must be at least 1, not {largest}")
        self._sizes = (largest, *(size for size in _SMALLER if size < largest))
        self._answer_s = answer_s
        self._lock = threading.Lock()
        self._index = 0
        self._in_time = 0
        self._pages_before_larger = _PAGES_BEFORE_LARGER
        self._tried_larger = False

    @property
    def now(self) -> int:
        """Records to ask for."""
        return self._sizes[self._index]

    @property
    def is_smaller(self) -> bool:
        """Whether it is below the largest now."""
        return self._index > 0

    def is_ours(self, size: int) -> bool:
        """Whether it is a size that we ask for, and not a server's own."""
        return size in self._sizes

    def resume(self, size: int | None) -> None:
        """Begin with the size that an interrupted listing had come down to, if it is ours."""
        with self._lock:
            if size in self._sizes[self._index + 1 :]:
                self._index = self._sizes.index(size)

    def has_smaller(self, asked: int | None) -> bool:
        """Whether there is a size below ``asked``; None: a cursor without a limit was followed."""
        return asked is None or self._sizes[-1] < asked

    def timed_out(self, asked: int | None) -> None:
        """A page of ``asked`` records did not come in time: go down below that."""
        with self._lock:
            smaller = [n for n, size in enumerate(self._sizes) if asked is None or size < asked]
            if self._tried_larger:
                doubled = 2 * self._pages_before_larger
                self._pages_before_larger = min(doubled, _MOST_PAGES_BEFORE_LARGER)
            self._tried_larger = False
            self._in_time = 0
            self._index = max(self._index, *smaller[:1])

    def in_time(self, seconds: float) -> None:
        """A page of the size `now` came after so many seconds; perhaps go up."""
        with self._lock:
            if self._index == 0:
                return
            self._in_time += 1
            self._tried_larger = False
            # if the time grows with the size, would the next larger one come in time?
            growth = self._sizes[self._index - 1] / self._sizes[self._index]
            quick = seconds * growth <= self._answer_s
            due = self._pages_before_larger * (1 if quick else _SLOW_FACTOR)
            if self._in_time >= due:
                self._in_time = 0
                self._index -= 1
                self._tried_larger = True
