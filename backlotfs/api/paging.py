"""Walking a listing page by page: where the next page is, and where the walk ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

from backlotfs.errors import NoSuchEntry, ProtocolViolation

_CREDENTIAL_PARAMS = frozenset({"api_key", "expires", "signature"})
_MAX_PARAMS = 100


class Page(Protocol):
    """What the walk needs of a page."""

    @property
    def next_page(self) -> str | None:
        """Relative or absolute URL of the next page; None on the last one."""


P = TypeVar("P", bound=Page)


def cursor_params(next_page: str, route: str, prefix: str = "") -> dict[str, str]:
    """The decoded parameters of a ``next_page``, ready to be signed anew. Pure.

    :param next_page: relative or absolute; only its path and query are used.
    :param route: the route that is being walked; the cursor must stay on it.
    :param prefix: path of the API's base URL, which the cursor may or may not repeat.
    :raises ProtocolViolation: for another route, or when it cannot be parsed.
    """
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


def walk(
    fetch: Callable[[Mapping[str, str]], P],
    *,
    route: str,
    first: Mapping[str, str],
    start: str | None = None,
    prefix: str = "",
) -> Iterator[P]:
    """Yield page after page, each fetched when it is asked for.

    A 404 on any page but the first is the end (servers say so when the total is an exact multiple
    of the page size), and so it is for the page that ``start`` names.

    :param fetch: gets the page for these parameters.
    :param first: parameters of the first page.
    :param start: a ``next_page`` to begin at instead.
    :raises ProtocolViolation: when a ``next_page`` comes back that was followed before.
    """
    params = first if start is None else cursor_params(start, route, prefix)
    followed = set() if start is None else {frozenset(params.items())}
    while True:
        try:
            page = fetch(params)
        except NoSuchEntry:
            if followed:
                return
            raise
        yield page
        if page.next_page is None:
            return
        params = cursor_params(page.next_page, route, prefix)
        key = frozenset(params.items())
        if key in followed:
            raise ProtocolViolation(f"the pages of {route} go round in a circle")
        followed.add(key)
