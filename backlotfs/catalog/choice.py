# SPDX-License-Identifier: Apache-2.0
"""The choice of assets that a mount shows (``--include RULE``, ``--exclude RULE``). Pure.

=====================================  ===========================================================
``*.mov``, ``name:*.mov``              the file name, by a pattern of the shell (`fnmatch`)
``label:News/2024``                    the label at this path, and all labels below it
``date:2024``, ``date:2024-01..2024-06``  when the asset was made, in UTC; ``date:undated``
``type:video``                         the API's ``asset_type``
=====================================  ===========================================================

An asset is shown if it matches an include rule (or there is no include rule), and no exclude rule.
Case is ignored. A rule reads only the row of an asset and the labels, so an asset that is not shown
costs no API call. All assets of the library get their names before the choice, so a file has the
same name in every mount.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from backlotfs.errors import SettingsError

if TYPE_CHECKING:  # commands import this module only to check rules, without the catalog
    from backlotfs.api.records import Label
    from backlotfs.catalog.db.rows import AssetRow

#: The kinds of rules; a rule begins with its kind.
KINDS = ("name", "label", "date", "type")
_KIND = re.compile(r"([^\s:*?\[/]+):")
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_TYPE = re.compile(r"[A-Za-z0-9_-]+")
_EXAMPLES = "*.mov, label:News, date:2024-01..2024-06 or type:video"
_DATES = "2024, 2024-01, 2024-01-31, 2024-01..2024-06 or undated"
_EPOCH = date(1970, 1, 1).toordinal()
_DAY_S = 86_400
#: Assets from the year 10000 on have no date, as in the layout ``dates``.
_END_OF_TIME_S = (date.max.toordinal() + 1 - _EPOCH) * _DAY_S

#: Whether a rule matches a row.
Test = Callable[["AssetRow"], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    :ivar text: as it was given.
    :ivar label: the folded path of its label; ``""`` for a rule of another kind.
    :ivar test: the test of a rule of another kind; None for a label rule.
    """

    text: str
    label: str
    test: Test | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The rules of a mount; see the head of this module."""

    include: tuple[Rule, ...]
    exclude: tuple[Rule, ...]

    @classmethod
    def of(cls, include: Iterable[str], exclude: Iterable[str]) -> Choice | None:
        """Make the choice; None without any rule. :raises SettingsError: see `parse_rule`."""
        chosen = cls(tuple(map(parse_rule, include)), tuple(map(parse_rule, exclude)))
        return chosen if chosen.include or chosen.exclude else None

    @property
    def texts(self) -> dict[str, list[str]]:
        """The rules as they were given."""
        return {
            "include": [rule.text for rule in self.include],
            "exclude": [rule.text for rule in self.exclude],
        }

    @property
    def needs_labels(self) -> bool:
        """Whether the labels of the library decide what is shown."""
        return any(rule.label for rule in (*self.include, *self.exclude))

    def among(self, labels: Sequence[Label], members: Mapping[str, Sequence[str]]) -> Chosen:
        """The choice with the labels of one version of the library.

        :param members: label id to the embed codes that have it.
        """
        wanted = {rule.label for rule in (*self.include, *self.exclude) if rule.label}
        found = _labels_at(wanted, labels)
        codes = {
            path: frozenset(code for label_id in ids for code in members.get(label_id, ()))
            for path, ids in found.items()
        }
        return Chosen(
            tuple(_test(rule, codes) for rule in self.include),
            tuple(_test(rule, codes) for rule in self.exclude),
            found,
            tuple(
                rule.text
                for rule in (*self.include, *self.exclude)
                if rule.label and not found[rule.label]
            ),
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """A `Choice` with the labels of one version of the library.

    :ivar label_ids: the ids of the labels at each path of a rule, and of those below it.
    :ivar unknown: the rules whose label is not in the library.
    """

    _include: tuple[Test, ...]
    _exclude: tuple[Test, ...]
    label_ids: Mapping[str, frozenset[str]]
    unknown: tuple[str, ...]

    def shows(self, row: AssetRow) -> bool:
        """Whether an asset is shown."""
        if self._include and not any(test(row) for test in self._include):
            return False
        return not any(test(row) for test in self._exclude)


def parse_rule(text: str) -> Rule:
    """Read a rule. :raises SettingsError: the rule is malformed; says how to write a rule."""
    match = _KIND.match(text)
    kind, value = ("name", text) if match is None else (match[1].lower(), text[match.end() :])
    if kind not in KINDS:
        raise SettingsError(
            f"the rule {text!r} begins with none of {', '.join(f'{kind}:' for kind in KINDS)}; "
            f"for a file name with a colon write name:{text}"
        )
    value = value.strip() if kind != "name" else value
    if not value:
        raise SettingsError(f"the rule {text!r} is empty; write it like {_EXAMPLES}")
    if kind == "label":
        path = _path(value)
        if not path:
            raise SettingsError(f"the rule {text!r} names no label; write it like label:News/2024")
        return Rule(text, path, None)
    if kind == "name":
        return Rule(text, "", _name_test(text, value))
    return Rule(text, "", _date_test(text, value) if kind == "date" else _type_test(text, value))


def folded(text: str) -> str:
    """``text`` without the differences that rules ignore: case and Unicode normalization."""
    if text.isascii():
        return text.lower()
    # case folding can decompose a character
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _folded_singly(text: str) -> str:
    """Like `folded`, but each character stays one character: ``ß`` does not become ``ss``."""
    single = (
        next(one for one in (character.casefold(), character.lower(), character) if len(one) == 1)
        for character in unicodedata.normalize("NFC", text)
    )
    return unicodedata.normalize("NFC", "".join(single))


def _test(rule: Rule, codes: Mapping[str, frozenset[str]]) -> Test:
    if rule.test is not None:
        return rule.test
    having = codes[rule.label]
    return lambda row: row.embed_code in having


def _name_test(text: str, pattern: str) -> Test:
    if "/" in pattern:
        label = pattern.rpartition("/")[0].strip("/*") or "News"
        raise SettingsError(
            f"the rule {text!r} matches nothing, because no file name contains a slash; "
            f"for a label and all below it write label:{label}"
        )
    # ? and [ count characters
    fold = _folded_singly if "?" in pattern or "[" in pattern else folded
    matches = re.compile(fnmatch.translate(fold(pattern))).match
    return lambda row: matches(fold(row.name)) is not None


def _type_test(text: str, value: str) -> Test:
    if not _TYPE.fullmatch(value):
        raise SettingsError(
            f"the rule {text!r} has no asset type; write one rule for each type, like type:video"
        )
    wanted = value.lower()
    return lambda row: row.asset_type.lower() == wanted


def _date_test(text: str, value: str) -> Test:
    if value.lower() == "undated":
        return lambda row: not 0 < row.created_at_s < _END_OF_TIME_S
    first, mark, last = value.partition("..")
    if not first and not last:
        raise _no_date(text)
    since_s = _span(text, first)[0] if first else 1
    until_s = _span(text, last)[1] if last else _END_OF_TIME_S
    if not mark:
        until_s = _span(text, first)[1]
    if until_s <= since_s:
        raise SettingsError(f"the rule {text!r} ends before it begins; write the older date first")
    since_s = max(since_s, 1)  # 0 is no date
    return lambda row: since_s <= row.created_at_s < until_s


def _span(text: str, value: str) -> tuple[int, int]:
    """The first second of a year, month or day, and the first second after its end."""
    match = _DATE.fullmatch(value.strip())
    if match is None:
        raise _no_date(text)
    year, month, day = (int(part or 0) for part in match.groups())
    try:
        first = date(year, month or 1, day or 1).toordinal()
    except ValueError:
        raise _no_date(text) from None
    if day:
        days = 1
    elif month:
        days = monthrange(year, month)[1]
    else:
        days = date(year, 12, 31).toordinal() + 1 - first
    return (first - _EPOCH) * _DAY_S, (first + days - _EPOCH) * _DAY_S


def _no_date(text: str) -> SettingsError:
    return SettingsError(f"the rule {text!r} has no date; write it like date:{_DATES}")


def _labels_at(wanted: Iterable[str], labels: Sequence[Label]) -> dict[str, frozenset[str]]:
    """The ids of the labels at each folded path, and of all labels below them.

    As in the layout ``labels``, a path consists of the names of a label and of its ancestors. A
    label with an unknown parent is at the top level. A name can contain a ``/``.
    """
    found: dict[str, set[str]] = {path: set() for path in wanted}
    if not found:
        return {}
    by_id: dict[str, Label] = {}
    for label in labels:
        by_id.setdefault(label.id, label)
    below: dict[str | None, list[Label]] = {}
    for label in by_id.values():
        parent = label.parent_id if label.parent_id in by_id else None
        below.setdefault(parent, []).append(label)
    # Not recursive, because labels may be nested deeply. Labels of a cycle are never reached.
    waiting: list[tuple[Label, str | None, frozenset[str]]]
    waiting = [(label, "", frozenset()) for label in below.get(None, ())]
    while waiting:
        label, path, within = waiting.pop()
        if path is not None:
            path = "/".join(filter(None, (path, _path(label.name))))
            if path in found:
                within |= {path}
            if not any(f"{one}/".startswith(f"{path}/") for one in found):
                path = None  # no rule is about what is below
        for one in within:
            found[one].add(label.id)
        waiting += ((child, path, within) for child in below.get(label.id, ()))
    return {path: frozenset(ids) for path, ids in found.items()}


def _path(text: str) -> str:
    """The folded path of a label, without redundant blanks and slashes.

    U+FF0F counts as a slash, because it replaces a slash of a label in the name of its folder.
    """
    text = text.replace("\uff0f", "/")
    return folded("/".join(filter(None, map(str.strip, text.split("/")))))
