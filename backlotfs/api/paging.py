"""Walking a listing page by page: where the next page is, how large, and where the walk ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

from backlotfs.api.page_size import PageSize
from backlotfs.api.records import Page
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import AnswerTimedOut, NoSuchEntry, ProtocolViolation
from backlotfs.untrusted_numbers import whole_number

_CREDENTIAL_PARAMS = frozenset({"api_key", "expires", "signature"})
_MAX_PARAMS = 100
# no server or proxy takes a longer request line
_MAX_CURSOR_LENGTH = 16_384
_LIMIT = "limit"
R = TypeVar("R")


def cursor_params(next_page: str, route: str, prefix: str = "") -> dict[str, str]:
    """The decoded parameters of a ``next_page``, ready to be signed anew. Pure.

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
