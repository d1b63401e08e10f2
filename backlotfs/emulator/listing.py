"""Lists of assets: the ``where`` filter, the order, and pages by a key-set cursor. Pure."""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, unquote, urlencode

from backlotfs.emulator.assets import EmulatedAsset
from backlotfs.emulator.numbers_and_dates import moment_of, whole_number

Predicate = Callable[[EmulatedAsset], bool]
LabelNames = Callable[[EmulatedAsset], list[str]]


class BadWhere(ValueError):
    """The filter cannot be understood; the API answers 400 with this text."""


_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:\\.|[^'\\])*')|(?P<op><=|>=|!=|=|<|>)|(?P<mark>[(),])"
    r"|(?P<word>[^\s'<>=!(),]+))",
    re.DOTALL,
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip  # a table reads better
_SHOWN_LENGTH = 80
_STOP_WORDS = frozenset(
    "a an and are as at be by for from in is it of on or that the to was with".split()  # noqa: SIM905 a sentence of stop words
)


def parse_where(text: str, *, label_names: LabelNames) -> Predicate:
    """The test that ``text`` describes.

    :param label_names: names of the labels an asset carries.
    :raises BadWhere: for anything outside the grammar, or an unknown field.
    """
    return _Parser(text, label_names).filter()


class _Parser:
    def __init__(self, text: str, label_names: LabelNames) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._label_names = label_names

    def filter(self) -> Predicate:
        conjuncts = [self._conjunct()]
        while self._keyword("OR"):
            conjuncts.append(self._conjunct())
        if self._next < len(self._tokens):
            raise BadWhere(f"Unexpected {_shown(self._tokens[self._next][1])} in where clause.")
        return lambda asset: any(one(asset) for one in conjuncts)

    def _conjunct(self) -> Predicate:
        clauses = [self._clause()]
        while self._keyword("AND"):
            clauses.append(self._clause())
        return lambda asset: all(one(asset) for one in clauses)

    def _clause(self) -> Predicate:
        field = self._take("word")
        if field == "labels":
            if not self._keyword("INCLUDES"):
                raise BadWhere("labels takes INCLUDES 'name'.")
            wanted, names = self._text(), self._label_names
            return lambda asset: wanted in names(asset)
        read, convert, fuzzy = _field(field)
        if self._keyword("IN"):
            values = {convert(value) for value in self._list()}
            return lambda asset: read(asset) in values
        symbol = self._take("op")
        compare, literal = _OPERATORS[symbol], self._literal()
        if fuzzy and symbol in ("=", "!="):
            terms, wants = _terms(literal), symbol == "="
            return lambda asset: (
                (text := read(asset)) is not None and (terms <= _terms(text)) is wants
            )
        limit = convert(literal)
        return lambda asset: (value := read(asset)) is not None and compare(value, limit)

    def _list(self) -> list[str]:
        self._mark("(")
        values = [self._literal()]
        while not self._mark(")", needed=False):
            self._mark(",")
            values.append(self._literal())
        return values

    def _keyword(self, word: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next][0] == "word":
            found = self._tokens[self._next][1].upper() == word
            self._next += found
            return found
        return False

    def _take(self, *kinds: str) -> str:
        if self._next >= len(self._tokens):
            raise BadWhere("The where clause ends too early.")
        kind, value = self._tokens[self._next]
        if kind not in kinds:
            raise BadWhere(f"Unexpected {_shown(value)} in where clause.")
        self._next += 1
        return value

    def _mark(self, mark: str, *, needed: bool = True) -> bool:
        if not needed and self._tokens[self._next : self._next + 1] != [("mark", mark)]:
            return False
        if self._take("mark") != mark:
            raise BadWhere(f"Expected {mark!r} in where clause.")
        return True

    def _text(self) -> str:
        return re.sub(r"\\(.)", r"\1", self._take("text")[1:-1], flags=re.DOTALL)

    def _literal(self) -> str:
        if self._next < len(self._tokens) and self._tokens[self._next][0] == "word":
            word = self._take("word")
            if not re.fullmatch(r"-?[0-9]+", word):
                raise BadWhere(f"{_shown(word)} is neither a number nor in quotes.")
            return word
        return self._text()


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        matched = _TOKEN.match(text, at, end)
        if matched is None or matched.lastgroup is None:
            raise BadWhere(f"Cannot read the where clause at {text[at : at + 20]!r}.")
        tokens.append((matched.lastgroup, matched[matched.lastgroup]))
        at = matched.end()
    return tokens


def _field(name: str) -> tuple[Callable[[EmulatedAsset], Any], Callable[[str], Any], bool]:
    """How to read a field, how to read a literal to compare it with, whether ``=`` is fuzzy."""
    if name.startswith("metadata."):
        key = unquote(name.removeprefix("metadata."))
        return lambda asset: _text_of(asset.metadata.get(key)), str, False
    if name in ("time_restrictions.start_date", "time_restrictions.end_date"):
        part = name.partition(".")[2]
        return lambda asset: _restriction(asset, part), _epoch, False
    if name not in _FIELDS:
        raise BadWhere(f"Cannot query on {_shown(name)}.")
    return _FIELDS[name]


def _restriction(asset: EmulatedAsset, part: str) -> float | None:
    restrictions = asset.extras.get("time_restrictions")
    value = restrictions.get(part) if isinstance(restrictions, dict) else None
    return moment_of(value) if isinstance(value, str) else None


def _text_of(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _shown(text: str) -> str:
    """``text`` in quotes for a message, cut when it is long."""
    return repr(text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…")


def _epoch(text: str) -> float:
    moment = moment_of(text)
    if moment is None:
        raise BadWhere(f"{_shown(text)} is not a date.")
    return moment


def _integer(text: str) -> int:
    number = whole_number(text, signed=True)
    if number is None:
        raise BadWhere(f"{_shown(text)} is not a number.")
    return number


def _terms(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(
        word[:-1] if len(word) > 2 and word.endswith("s") else word
        for word in words
        if word not in _STOP_WORDS
    )


_FIELDS: dict[str, tuple[Callable[[EmulatedAsset], Any], Callable[[str], Any], bool]] = {
    "name": (lambda asset: asset.title, str, True),
    "description": (lambda asset: asset.description, str, True),
    "duration": (lambda asset: asset.duration_ms, _integer, False),  # milliseconds, as observed
    "asset_type": (lambda asset: asset.asset_type, str, False),
    "status": (lambda asset: asset.status, str, False),
    "embed_code": (lambda asset: asset.embed_code, str, False),
    "external_id": (lambda asset: asset.external_id, str, False),
    "created_at": (lambda asset: asset.created_at, _epoch, False),
    "updated_at": (lambda asset: asset.changed_at, _epoch, False),
}


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
