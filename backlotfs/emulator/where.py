"""The ``where`` filter: clauses joined by AND and OR, as far as the reference shows them. Pure.

::

    filter    := conjunct (OR conjunct)*            AND binds tighter; there are no parentheses
    conjunct  := clause (AND clause)*
    clause    := FIELD OP literal | FIELD IN ( literal, … ) | labels INCLUDES literal
    OP        := = != < <= > >=
    literal   := 'text, with \\' for a quote' | integer

A property that is null matches nothing, ``!=`` included. ``=`` on ``name`` and ``description`` is
the service's fuzzy match: case, plural and stop words do not count, and every term must occur.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from backlotfs.emulator.numbers_and_dates import moment_of, whole_number
from backlotfs.emulator.records import EmulatedAsset

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
