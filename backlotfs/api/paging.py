# SPDX-License-Identifier: Apache-2.0
"""Listings page by page: the cursor of the next page, its size, and the limits of a listing.

An API may need a fixed time for each record. Then a page of 500 takes longer than the time limit,
or than the limit of a proxy before the API, but a page of 20 does not. After a time-out the next
smaller page size is used. After some pages in time a larger one is tried again; each time it fails,
twice as many pages come before the next trial. The `PageSize` is kept for later listings.

A listing of a faulty server may never end: the server sends new records, or the same records with
new cursors, or empty pages. The records are kept on disk or in memory, so each listing has limits.
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
#: Limits for a listing that is kept in memory (labels, deletions, changed assets): its records, the
#: labels and custom fields of its assets (in memory 20 times their text), and bytes of answers.
MAX_RECORDS_IN_MEMORY = 200_000
MAX_PARTS_IN_MEMORY = 1_000_000
MAX_BYTES_IN_MEMORY = 256 * 1024 * 1024


class EndlessListing(ProtocolViolation):
    """A listing exceeded its limits; its records were not kept."""


class ListingLimits(NamedTuple):
    """The limits of one listing of the library.

    :ivar assets: most records. :ivar size_bytes: largest total size of all answers, unpacked.
    """

    assets: int = 5_000_000
    size_bytes: int = 20 * 1024**3


#: The limits of listings that are kept in memory.
IN_MEMORY = ListingLimits(MAX_RECORDS_IN_MEMORY, MAX_BYTES_IN_MEMORY)


class ListingMeter:
    """Counts the records and bytes of one listing. Belongs to one thread."""

    def __init__(
        self, what: str, limits: ListingLimits, *, records: int = 0, size_bytes: int = 0
    ) -> None:
        """Begin to count.

        :param what: the name of what is listed, for messages: ``"assets"``.
        :param records: number of records that came before the listing was interrupted, with
            ``size_bytes``.
        """
        self._what = what
        self._limits = limits
        self._records = records
        self._size_bytes = size_bytes
        self._idle_pages = 0
        self._parts = 0
        self._known: set[str] = set()

    def page_in_memory(self, ids: Collection[str], *, size_bytes: int, parts: int = 0) -> None:
        """Count a page as `page` does; records whose id did not come before are new.

        :param parts: number of labels and custom fields of all records of the page.
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

        :param records: number of records. :param new: how many of them did not come before.
        :raises EndlessListing: a limit is exceeded; the message names the limit.
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


#: Page sizes below the largest. With 1 s per record, the smallest is within the default time limit.
_SMALLER = (100, 20)
#: Pages in time before a larger size is tried.
_PAGES_BEFORE_LARGER = 3
#: Factor for this number of pages, if a larger page would probably not come in time.
_SLOW_FACTOR = 5
_MOST_PAGES_BEFORE_LARGER = 10_000


class PageSize:
    """The page size to request now. Any thread may use it."""

    def __init__(self, largest: int, answer_s: float) -> None:
        """Begin with the largest.

        :param largest: records per page as long as there was no time-out.
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
        """Whether ``size`` is one of our page sizes, and not a limit of the server."""
        return size in self._sizes

    def resume(self, size: int | None) -> None:
        """Begin with the page size of an interrupted listing, if it is ours and smaller."""
        with self._lock:
            if size in self._sizes[self._index + 1 :]:
                self._index = self._sizes.index(size)

    def has_smaller(self, asked: int | None) -> bool:
        """Whether there is a size below ``asked``; None: the request had no ``limit``."""
        return asked is None or self._sizes[-1] < asked

    def timed_out(self, asked: int | None) -> None:
        """Request fewer than ``asked`` records from now on: such a page did not come in time."""
        with self._lock:
            smaller = [n for n, size in enumerate(self._sizes) if asked is None or size < asked]
            if self._tried_larger:
                doubled = 2 * self._pages_before_larger
                self._pages_before_larger = min(doubled, _MOST_PAGES_BEFORE_LARGER)
            self._tried_larger = False
            self._in_time = 0
            self._index = max(self._index, *smaller[:1])

    def in_time(self, seconds: float) -> None:
        """Note how many seconds a page of the size `now` took; perhaps choose a larger size."""
        with self._lock:
            if self._index == 0:
                return
            self._in_time += 1
            self._tried_larger = False
            # would the next larger page come in time, if the time grows with the size?
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
    :param route: the route of the listing; the cursor must be for the same route.
    :param prefix: path of the API's base URL, which the cursor may or may not repeat.
    :raises ProtocolViolation: the cursor is for another route, too long, empty or malformed.
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

        :param retry_timeouts: False: raise `AnswerTimedOut` at once, because a smaller page may
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
    """Yield page after page; each is fetched when the caller requests it.

    A 404 for any page except the first is the end of the listing: servers answer so when the total
    is an exact multiple of the page size. A 404 for the page ``start`` is the end too. After a
    time-out the same page is requested again with fewer records.

    :param first: parameters of the first page, without ``limit``.
    :param deadline: limits the time of each page, not of the listing: it is extended by the time
        that each page took.
    :param size: how many records to request; None for a route that takes no ``limit``.
    :param start: a ``next_page`` at which the listing begins instead.
    :raises ProtocolViolation: a ``next_page`` comes that was followed before.
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
        if math.isfinite(left_s):  # the deadline did not run while the call waited for a credit
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
    """A page, and the parameters of its request, with fewer records after time-outs."""
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
    """A cursor's parameters, with the number of records to request now."""
    if size is None:
        return cursor
    asked, limit = _limit_of(params), _limit_of(cursor)
    if limit is None and not size.is_smaller:
        return cursor
    if limit is not None and asked is not None and (limit < asked or not size.is_ours(limit)):
        return cursor  # the server's own limit: it would not return more records
    return {**cursor, _LIMIT: str(size.now)}


def _place(params: Mapping[str, str]) -> int:
    """Identifies a page without its size. A hash: millions of cursors would need a gigabyte."""
    return hash(frozenset(item for item in params.items() if item[0] != _LIMIT))


def _limit_of(params: Mapping[str, str]) -> int | None:
    return whole_number(params.get(_LIMIT))
