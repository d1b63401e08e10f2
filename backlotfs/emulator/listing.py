"""Order and pages of asset lists: a key-set cursor, ``<value of the order>;<embed_code>``. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

from backlotfs.emulator.numbers_and_dates import whole_number
from backlotfs.emulator.records import EmulatedAsset

DEFAULT_LIMIT = 100
CREDENTIALS = frozenset({"api_key", "expires", "signature"})


class BadListing(ValueError):
    """A parameter of a list cannot be used; the API answers 400 with this text."""


class PastTheEnd(Exception):
    """A page after the last one was asked for; the old dialect answers 404."""


@dataclass(frozen=True, slots=True)
class Order:
    """What ``orderby`` says; ties go by ``embed_code`` ascending."""

    field: str = "created_at"
    descending: bool = True

    @property
    def is_default(self) -> bool:
        """Whether this is the order a library keeps its assets in."""
        return self == Order()

    def value(self, asset: EmulatedAsset) -> Any:
        """What the asset is ordered by."""
        return _ORDERABLE[self.field][0](asset)


@dataclass(frozen=True, slots=True)
class Page:
    """Some assets and, unless they are the last, the token that goes on after them."""

    assets: Sequence[EmulatedAsset]
    next_token: str | None


def _number(text: str) -> int | None:
    return whole_number(text, signed=True)


_ORDERABLE: dict[str, tuple[Callable[[EmulatedAsset], Any], Callable[[str], Any]]] = {
    "name": (lambda asset: asset.title.lower(), str),
    "duration": (lambda asset: asset.duration_ms, _number),
    "asset_type": (lambda asset: asset.asset_type, str),
    "created_at": (lambda asset: asset.created_at, _number),
    "updated_at": (lambda asset: asset.changed_at, _number),
}
"""Field to its value of an asset, and to how its value in a page token is read (None: badly)."""


def parse_order(text: str | None) -> Order:
    """``name``, ``duration ascending``, ``created_at DESCENDING`` …; ascending unless it says so.

    :raises BadListing: for an unknown field or direction.
    """
    if text is None:
        return Order()
    field, _, direction = text.strip().partition(" ")
    if field not in _ORDERABLE:
        raise BadListing(f"Cannot order by {field[:80]!r}.")
    if direction.strip().lower() not in ("", "ascending", "descending"):
        raise BadListing(f"Unknown direction {direction[:80]!r}.")
    return Order(field, direction.strip().lower() == "descending")


def parse_limit(text: str | None, cap: int) -> int:
    """Records to a page: 100 unless asked for, at most ``cap`` however many are.

    :raises BadListing: when it is not a positive number.
    """
    if text is None:
        return min(DEFAULT_LIMIT, cap)
    wanted = whole_number(text)
    if not wanted:
        raise BadListing("limit must be a number between 1 and 500.")
    return min(wanted, cap)


def parse_token(text: str, order: Order) -> tuple[Any, str]:
    """The value of the order and the embed code after which a page begins.

    :raises BadListing: for a token that was not made here.
    """
    value, mark, embed_code = text.rpartition(";")
    position = _ORDERABLE[order.field][1](value) if mark else None
    if position is None:
        raise BadListing("Invalid page_token.")
    return position, embed_code


def page_of(
    assets: Sequence[EmulatedAsset],
    *,
    order: Order,
    accepts: Callable[[EmulatedAsset], bool] | None,
    limit: int,
    token: str | None,
    exact_multiple: Literal["absent", "token_then_404"],
) -> Page:
    """One page.

    :param assets: in the default order.
    :param accepts: the filter, or None.
    :raises BadListing: for a token that was not made here.
    :raises PastTheEnd: in ``token_then_404``, when a token leads to nothing.
    """
    after = parse_token(token, order) if token is not None else None
    if order.is_default:
        start = 0
        if after is not None:
            start = bisect_right(assets, (-after[0], after[1]), key=_default_key)
        candidates: Iterable[EmulatedAsset] = (assets[i] for i in range(start, len(assets)))
    else:
        candidates = _reordered(assets, order, after)
    found: list[EmulatedAsset] = []
    more = False
    for asset in candidates:
        if accepts is not None and not accepts(asset):
            continue
        if len(found) == limit:
            more = True
            break
        found.append(asset)
    if exact_multiple == "token_then_404":
        if token is not None and not found:
            raise PastTheEnd
        more = more or len(found) == limit
    last = found[-1] if found else None
    following = f"{order.value(last)};{last.embed_code}" if more and last is not None else None
    return Page(found, following)


def next_page_url(path: str, parameters: Iterable[tuple[str, str]], token: str) -> str:
    """Relative URL of the following page: the same parameters without credentials, the token."""
    kept = [(n, v) for n, v in parameters if n not in CREDENTIALS and n != "page_token"]
    query = urlencode([*kept, ("page_token", token)], quote_via=quote, errors="surrogateescape")
    return f"{path}?{query}"


def _default_key(asset: EmulatedAsset) -> tuple[int, str]:
    return -asset.created_at, asset.embed_code


def _reordered(
    assets: Sequence[EmulatedAsset], order: Order, after: tuple[Any, str] | None
) -> list[EmulatedAsset]:
    kept = assets if after is None else [a for a in assets if _is_after(a, order, after)]
    by_code = sorted(kept, key=lambda asset: asset.embed_code)
    return sorted(by_code, key=order.value, reverse=order.descending)


def _is_after(asset: EmulatedAsset, order: Order, after: tuple[Any, str]) -> bool:
    value = order.value(asset)
    if value == after[0]:
        return asset.embed_code > after[1]
    return bool(value < after[0] if order.descending else value > after[0])
