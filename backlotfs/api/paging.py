# SPDX-License-Identifier: Apache-2.0
"""Listings page by page: where the next page is, how large it is, and where a listing is given up.

An API may need a fixed time for each record, so that a page of 500 takes longer than anybody waits,
or longer than a proxy before it allows, while one of 20 comes at once. After a time-out the next
smaller size is asked for; after some pages in time a larger one is tried again, each time it fails
twice as late. What was learned stays with the `PageSize`, for later listings.

A server can go on for ever: with new records, with those it sent before under ever new cursors, or
with empty pages. What has come so far is on disk or in memory, so each listing has limits.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

from backlotfs.api.records import Page
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import AnswerTimedOut, NoSuchEntry, ProtocolViolation
from backlotfs.untrusted_numbers import whole_number

#: Pages in a row that bring nothing new.
MAX_IDLE_PAGES = 100
#: Of what is gathered in memory (labels, deletions, what changed): records, what they consist of
#: (labels and custom fields of assets, which as objects are 20 times their text), bytes of answers.
MAX_RECORDS_IN_MEMORY = 200_000
MAX_PARTS_IN_MEMORY = 1_000_000
MAX_BYTES_IN_MEMORY = 256 * 1024 * 1024


class EndlessListing(ProtocolViolation):
    """A listing went beyond its limits; nothing of it was kept."""


class ListingLimits(NamedTuple):
    """What one listing of the library may bring.

    :ivar assets: records. :ivar size_bytes: of answers, unpacked.
    """

    assets: int = 5_000_000
    size_bytes: int = 20 * 1024**3


#: For listings that are gathered in memory.
IN_MEMORY = ListingLimits(MAX_RECORDS_IN_MEMORY, MAX_BYTES_IN_MEMORY)


class ListingMeter:
    """Counts what one listing brings; one thread's."""

    def __init__(
        self, what: str, limits: ListingLimits, *, records: int = 0, size_bytes: int = 0
    ) -> None:
        """Begin to count.

        :param what: is listed, for messages: ``"assets"``.
        :param records: that an interrupted part of the listing brought, with ``size_bytes``.
        """
        self._what = what
        self._limits = limits
        self._records = records
        self._size_bytes = size_bytes
        self._idle_pages = 0
        self._parts = 0
        self._known: set[str] = set()

    def page_in_memory(self, ids: Collection[str], *, size_bytes: int, parts: int = 0) -> None:
        """Count a page as `page` does, and find out by the remembered ids which records are new.

        :param parts: labels and custom fields of all the records.
        """
        self._parts += parts
        if self._parts > MAX_PARTS_IN_MEMORY:
            raise EndlessListing(
                f"the listing of {self._what} does not end:"
                f" more than {MAX_PARTS_IN_MEMORY} labels and custom fields"
            )
        before = len(self._known)
        self._known.update(ids)
        self.page(records=len(ids), new=len(self._known) - before, size_bytes=size_bytes)

    def page(self, *, records: int, new: int, size_bytes: int) -> None:
        """Count a page.

        :param records: on it. :param new: of them, which did not come before.
        :raises EndlessListing: that is too much; the message names the limit.
        """
        self._records += records
        self._size_bytes += size_bytes
        self._idle_pages = 0 if new else self._idle_pages + 1
        does_not_end = f"the listing of {self._what} does not end"
        if self._records > self._limits.assets:
            raise EndlessListing(f"{does_not_end}: more than {self._limits.assets} records")
        if self._size_bytes > self._limits.size_bytes:
            raise EndlessListing(
                f"{does_not_end}: more than {self._limits.size_bytes} bytes of answers"
            )
        if self._idle_pages > MAX_IDLE_PAGES:
            raise EndlessListing(
                f"{does_not_end}: {self._idle_pages} pages in a row brought nothing new"
            )


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
        """Whether fewer records than the largest number are asked for now."""
        return self._index > 0

    def is_ours(self, size: int) -> bool:
        """Whether ``size`` is one that we ask for, and not a cap of the server."""
        return size in self._sizes

    def resume(self, size: int | None) -> None:
        """Begin with the size that an interrupted listing had come down to, if it is our own."""
        with self._lock:
            if size in self._sizes[self._index + 1 :]:
                self._index = self._sizes.index(size)

    def has_smaller(self, asked: int | None) -> bool:
        """Whether there is a size below ``asked``; None: a cursor without a limit was followed."""
        return asked is None or self._sizes[-1] < asked

    def timed_out(self, asked: int | None) -> None:
        """Ask for fewer than ``asked`` records from now on: a page of them did not come in time."""
        with self._lock:
            smaller = [n for n, size in enumerate(self._sizes) if asked is None or size < asked]
            if self._tried_larger:
                doubled = 2 * self._pages_before_larger
                self._pages_before_larger = min(doubled, _MOST_PAGES_BEFORE_LARGER)
            self._tried_larger = False
            self._in_time = 0
            self._index = max(self._index, *smaller[:1])

    def in_time(self, seconds: float) -> None:
        """Note that a page of the size `now` came after so many seconds; perhaps ask for more."""
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


_CREDENTIAL_PARAMS = frozenset({"api_key", "expires", "signature"})
_MAX_PARAMS = 100
# no server or proxy takes a longer request line
_MAX_CURSOR_LENGTH = 16_384
_LIMIT = "limit"
R = TypeVar("R")


def cursor_params(next_page: str, route: str, prefix: str = "") -> dict[str, str]:
    """The decoded parameters of a ``next_page``, ready to be signed again. Pure.

    :param next_page: relative or absolute; only its path and query are used.
    :param route: the route that is being walked; the cursor must stay on it.
    :param prefix: path of the API's base URL, which the cursor may or may not repeat.
    :raises ProtocolViolation: for another route, or when it cannot be parsed.
    """
    if len(next_page) > _MAX_CURSOR_LENGTH:
        raise ProtocolViolation(f"next_page of {route} has {len(next_page)} characters")
    try:
        parts = urlsplit(next_page)
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, errors="replace", max_num_fields=_MAX_PARAMS
        )
    except ValueError:
        raise ProtocolViolation(f"next_page of {route} cannot be parsed") from None
    if parts.path not in (route, prefix + route):
        raise ProtocolViolation(f"next_page of {route} leads to another route")
    params = {name: value for name, value in pairs if name not in _CREDENTIAL_PARAMS}
    if not params:
        raise ProtocolViolation(f"next_page of {route} holds no cursor")
    return params


class FetchPage(Protocol[R]):
    """Gets one page for `walk`."""

    def __call__(self, params: Mapping[str, str], *, retry_timeouts: bool) -> Page[R]:
        """The page for these parameters.

        :param retry_timeouts: False: an `AnswerTimedOut` is raised at once, as a smaller page may
            come in time.
        """


def walk(
    fetch: FetchPage[R],
    *,
    route: str,
    first: Mapping[str, str],
    deadline: Deadline,
    clock: Clock,
    size: PageSize | None = None,
    start: str | None = None,
    prefix: str = "",
) -> Iterator[Page[R]]:
    """Yield page after page, each fetched when it is asked for.

    A 404 on any page but the first is the end (servers say so when the total is an exact multiple
    of the page size), and so it is for the page that ``start`` names. After a time-out the same
    page is asked for again with fewer records.

    :param first: parameters of the first page, without ``limit``.
    :param deadline: ends the walk after so long without a page: it gets back the time that each
        page took.
    :param size: how many records to ask for; None for a route that takes no ``limit``.
    :param start: a ``next_page`` to begin at instead.
    :raises ProtocolViolation: when a ``next_page`` comes back that was followed before.
    """
    params = dict(first) if start is None else cursor_params(start, route, prefix)
    if size is not None and start is None:
        params[_LIMIT] = str(size.now)
    elif size is not None:
        size.resume(_limit_of(params))
    followed = set() if start is None else {_place(params)}
    while True:
        began_s, left_s = clock.monotonic(), deadline.remaining_s()
        try:
            page, params = _fetch(fetch, params, size)
        except NoSuchEntry:
            if followed:
                return
            raise
        took_s = clock.monotonic() - began_s
        if math.isfinite(left_s):  # it did not run while a call waited for a credit
            took_s = left_s - deadline.remaining_s()
        deadline.extend(took_s)
        if size is not None:
            size.in_time(took_s)
        yield page
        if page.next_page is None:
            return
        params = _next_params(cursor_params(page.next_page, route, prefix), params, size)
        place = _place(params)
        if place in followed:
            raise ProtocolViolation(f"the pages of {route} go round in a circle")
        followed.add(place)


def _fetch(
    fetch: FetchPage[R], params: dict[str, str], size: PageSize | None
) -> tuple[Page[R], dict[str, str]]:
    """A page, and the parameters that brought it: fewer records than asked for, after time-outs."""
    while True:
        asked = _limit_of(params)
        may_shrink = size is not None and size.has_smaller(asked)
        try:
            return fetch(params, retry_timeouts=not may_shrink), params
        except AnswerTimedOut:
            if size is None or not may_shrink:
                raise
            size.timed_out(asked)
            params = {**params, _LIMIT: str(size.now)}


def _next_params(
    cursor: dict[str, str], params: Mapping[str, str], size: PageSize | None
) -> dict[str, str]:
    """A cursor's parameters, with the number of records to ask for now."""
    if size is None:
        return cursor
    asked, limit = _limit_of(params), _limit_of(cursor)
    if limit is None and not size.is_smaller:
        return cursor
    if limit is not None and asked is not None and (limit < asked or not size.is_ours(limit)):
        return cursor  # the server's own cap: asking for more would change nothing
    return {**cursor, _LIMIT: str(size.now)}


def _place(params: Mapping[str, str]) -> int:
    """Which page it is, whatever its size; a hash, as millions of cursors would take a gigabyte."""
    return hash(frozenset(item for item in params.items() if item[0] != _LIMIT))


def _limit_of(params: Mapping[str, str]) -> int | None:
    return whole_number(params.get(_LIMIT))
