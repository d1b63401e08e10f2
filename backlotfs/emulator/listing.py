# SPDX-License-Identifier: Apache-2.0
"""Lists of assets: the ``where`` filter, the order, and pages by a key-set cursor. Pure.

The filter, as far as the reference shows it::

    filter    := conjunct (OR conjunct)*            AND binds tighter; there are no parentheses
    conjunct  := clause (AND clause)*
    clause    := FIELD OP literal | FIELD IN ( literal, … ) | labels INCLUDES 'text'
    OP        := = != < <= > >=
    literal   := 'text, with \\' for a quote' | integer

A property that is null matches no filter, not even ``!=``. ``=`` on ``name`` and ``description``
is the service's fuzzy match: it ignores case, plural and stop words, and every term must occur. A
page token is ``<value of the order>;<embed_code>`` of the last asset before the page.
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal
from urllib.parse import quote, unquote, urlencode

from backlotfs.emulator.assets import EmulatedAsset
from backlotfs.emulator.numbers_and_dates import moment_of, whole_number

DEFAULT_LIMIT = 100
CREDENTIALS = frozenset({"api_key", "expires", "signature"})

Predicate = Callable[[EmulatedAsset], bool]
LabelNames = Callable[[EmulatedAsset], list[str]]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:\\.|[^'\\])*')|(?P<op><=|>=|!=|=|<|>)|(?P<mark>[(),])"
    r"|(?P<word>[^\s'<>=!(),]+))",
    re.DOTALL,
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip  # a table
_SHOWN_LENGTH = 80
_STOP_WORDS = frozenset(
    "a an and are as at be by for from in is it of on or that the to was with".split()  # noqa: SIM905 a sentence of stop words
)


class BadListing(ValueError):
    """A parameter of a list is invalid; the API answers 400 with this text."""


class PastTheEnd(Exception):
    """There is no such page; with ``token_then_404`` the API answers 404."""


def _epoch(text: str) -> float:
    moment = moment_of(text)
    if moment is None:
        raise BadListing(f"{_shown(text)} is not a date.")
    return moment


def _integer(text: str) -> int:
    number = whole_number(text, signed=True)
    if number is None:
        raise BadListing(f"{_shown(text)} is not a number.")
    return number


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a filter or an order: functions for an asset's value and for a literal."""

    read: Callable[[EmulatedAsset], Any]
    convert: Callable[[str], Any] = str
    fuzzy: bool = False


_FIELDS = {
    "name": _Field(lambda asset: asset.title, fuzzy=True),
    "description": _Field(lambda asset: asset.description, fuzzy=True),
    "duration": _Field(lambda asset: asset.duration_ms, _integer),  # milliseconds, as observed
    "asset_type": _Field(lambda asset: asset.asset_type),
    "status": _Field(lambda asset: asset.status),
    "embed_code": _Field(lambda asset: asset.embed_code),
    "external_id": _Field(lambda asset: asset.external_id),
    "created_at": _Field(lambda asset: asset.created_at, _epoch),
    "updated_at": _Field(lambda asset: asset.changed_at, _epoch),
}
_ORDERS = {
    "name": _Field(lambda asset: asset.title.lower()),
    "duration": _FIELDS["duration"],
    "asset_type": _FIELDS["asset_type"],
    "created_at": _Field(lambda asset: asset.created_at, _integer),
    "updated_at": _Field(lambda asset: asset.changed_at, _integer),
}


def _field(name: str) -> _Field:
    if name.startswith("metadata."):
        key = unquote(name.removeprefix("metadata."))
        return _Field(lambda asset: _metadata(asset, key))
    if name in ("time_restrictions.start_date", "time_restrictions.end_date"):
        return _Field(lambda asset: _restriction(asset, name.partition(".")[2]), _epoch)
    if name not in _FIELDS:
        raise BadListing(f"Cannot query on {_shown(name)}.")
    return _FIELDS[name]


def _metadata(asset: EmulatedAsset, key: str) -> str | None:
    value: Any = asset.metadata.get(key)  # library.json may hold numbers here
    return None if value is None else str(value)


def _restriction(asset: EmulatedAsset, part: str) -> float | None:
    restrictions = asset.extras.get("time_restrictions")
    value = restrictions.get(part) if isinstance(restrictions, dict) else None
    return moment_of(value) if isinstance(value, str) else None


def _shown(text: str) -> str:
    """``text`` in quotes for a message, cut if it is long."""
    return repr(text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…")


def parse_where(text: str, *, label_names: LabelNames) -> Predicate:
    """The predicate of a filter.

    :param label_names: returns the names of an asset's labels.
    :raises BadListing: the filter does not follow the grammar, or a field is unknown.
    """
    return _Parser(text, label_names).filter()


class _Parser:
    """Recursive descent over the tokens of one filter, ``(kind, text)`` each."""

    def __init__(self, text: str, label_names: LabelNames) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._label_names = label_names
        at, end = 0, len(text.rstrip())
        while at < end:
            matched = _TOKEN.match(text, at, end)
            if matched is None or matched.lastgroup is None:
                raise BadListing(f"Cannot read the where clause at {text[at : at + 20]!r}.")
            self._tokens.append((matched.lastgroup, matched[matched.lastgroup]))
            at = matched.end()
        self._tokens.append(("end", ""))
        self._tokens.reverse()  # so that the next token is the last element

    def filter(self) -> Predicate:
        conjuncts = [self._conjunct()]
        while self._skip("word", "OR"):
            conjuncts.append(self._conjunct())
        self._take("end")
        return lambda asset: any(one(asset) for one in conjuncts)

    def _conjunct(self) -> Predicate:
        clauses = [self._clause()]
        while self._skip("word", "AND"):
            clauses.append(self._clause())
        return lambda asset: all(one(asset) for one in clauses)

    def _clause(self) -> Predicate:
        name = self._take("word")
        if name == "labels":
            if not self._skip("word", "INCLUDES"):
                raise BadListing("labels takes INCLUDES 'name'.")
            wanted, names = _unquoted(self._take("text")), self._label_names
            return lambda asset: wanted in names(asset)
        field = _field(name)
        read = field.read
        if self._skip("word", "IN"):
            values = {field.convert(value) for value in self._list()}
            return lambda asset: read(asset) in values
        symbol = self._take("op")
        compare, literal = _OPERATORS[symbol], self._literal()
        if field.fuzzy and symbol in ("=", "!="):
            terms, wants = _terms(literal), symbol == "="
            return lambda asset: (
                (text := read(asset)) is not None and (terms <= _terms(text)) is wants
            )
        limit = field.convert(literal)
        return lambda asset: (value := read(asset)) is not None and compare(value, limit)

    def _list(self) -> list[str]:
        if not self._skip("mark", "("):
            raise BadListing("IN takes a list in parentheses.")
        values = [self._literal()]
        while not self._skip("mark", ")"):
            if not self._skip("mark", ","):
                raise BadListing("Expected ',' or ')' in where clause.")
            values.append(self._literal())
        return values

    def _literal(self) -> str:
        if self._tokens[-1][0] != "word":
            return _unquoted(self._take("text"))
        word = self._take("word")
        if not re.fullmatch(r"-?[0-9]+", word):
            raise BadListing(f"{_shown(word)} is neither a number nor in quotes.")
        return word

    def _skip(self, kind: str, text: str) -> bool:
        """Remove the next token if it is ``text``, in any case; return whether it was."""
        next_kind, next_text = self._tokens[-1]
        found = next_kind == kind and next_text.upper() == text
        if found:
            self._tokens.pop()
        return found

    def _take(self, wanted: str) -> str:
        kind, text = self._tokens[-1]
        if kind == wanted:
            self._tokens.pop()
            return text
        if kind == "end":
            raise BadListing("The where clause ends too early.")
        raise BadListing(f"Unexpected {_shown(text)} in where clause.")


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def _terms(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(
        word[:-1] if len(word) > 2 and word.endswith("s") else word
        for word in words
        if word not in _STOP_WORDS
    )


@dataclass(frozen=True, slots=True)
class Order:
    """The order from ``orderby``; ties are ordered by ``embed_code`` ascending."""

    field: str = "created_at"
    descending: bool = True

    def value(self, asset: EmulatedAsset) -> Any:
        """The value by which the asset is ordered."""
        return _ORDERS[self.field].read(asset)

    def is_after(self, asset: EmulatedAsset, position: tuple[Any, str]) -> bool:
        """Whether the asset comes after a position in this order."""
        value = self.value(asset)
        if value == position[0]:
            return asset.embed_code > position[1]
        return bool(value < position[0] if self.descending else value > position[0])


@dataclass(frozen=True, slots=True)
class Page:
    """Some assets and, unless they are the last ones, the token of the next page."""

    assets: Sequence[EmulatedAsset]
    next_token: str | None


def parse_order(text: str | None) -> Order:
    """Parse ``name``, ``duration ascending``, ``created_at DESCENDING`` …; ascending by default.

    :raises BadListing: the field or the direction is unknown.
    """
    if text is None:
        return Order()
    field, _, direction = text.strip().partition(" ")
    if field not in _ORDERS:
        raise BadListing(f"Cannot order by {_shown(field)}.")
    if direction.strip().lower() not in ("", "ascending", "descending"):
        raise BadListing(f"Unknown direction {_shown(direction)}.")
    return Order(field, direction.strip().lower() == "descending")


def parse_limit(text: str | None, cap: int) -> int:
    """The number of records of a page: 100 by default, at most ``cap``.

    :raises BadListing: it is not a positive number.
    """
    wanted = DEFAULT_LIMIT if text is None else whole_number(text)
    if not wanted:
        raise BadListing("limit must be a number between 1 and 500.")
    return min(wanted, cap)


def parse_token(text: str, order: Order) -> tuple[Any, str]:
    """The value of the order and the embed code after which a page begins.

    :raises BadListing: the token is invalid.
    """
    value, mark, embed_code = text.rpartition(";")
    try:
        position = _ORDERS[order.field].convert(value)
    except BadListing:
        mark = ""
    if not mark:
        raise BadListing("Invalid page_token.")
    return position, embed_code


def page_of(
    assets: Sequence[EmulatedAsset],
    *,
    order: Order,
    accepts: Predicate | None,
    limit: int,
    token: str | None,
    exact_multiple: Literal["absent", "token_then_404"],
) -> Page:
    """One page.

    :param assets: in the default order.
    :param accepts: the filter, or None.
    :raises BadListing: the token is invalid.
    :raises PastTheEnd: with ``token_then_404``, if no asset comes after the token.
    """
    after = parse_token(token, order) if token is not None else None
    candidates: Iterable[EmulatedAsset] = assets
    if order != Order():
        candidates = sorted(assets, key=lambda asset: asset.embed_code)
        candidates.sort(key=order.value, reverse=order.descending)
        if after is not None:
            candidates = [one for one in candidates if order.is_after(one, after)]
    elif after is not None:
        position = (-after[0], after[1])
        start = bisect_right(assets, position, key=lambda one: (-one.created_at, one.embed_code))
        candidates = (assets[index] for index in range(start, len(assets)))
    if accepts is not None:
        candidates = filter(accepts, candidates)
    found = list(islice(candidates, limit + 1))
    more = len(found) > limit
    del found[limit:]
    if exact_multiple == "token_then_404":
        if token is not None and not found:
            raise PastTheEnd
        more = len(found) == limit
    next_token = f"{order.value(found[-1])};{found[-1].embed_code}" if more else None
    return Page(found, next_token)


def next_page_url(path: str, parameters: Iterable[tuple[str, str]], token: str) -> str:
    """Relative URL of the next page: the token and the parameters without the credentials."""
    kept = [(n, v) for n, v in parameters if n not in CREDENTIALS and n != "page_token"]
    query = urlencode([*kept, ("page_token", token)], quote_via=quote, errors="surrogateescape")
    return f"{path}?{query}"
