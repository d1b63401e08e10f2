# SPDX-License-Identifier: Apache-2.0
"""Rules that choose assets: what each kind matches, and what is no rule."""

from __future__ import annotations

import calendar

import pytest

from backlotfs.api.records import Label
from backlotfs.catalog.choice import Choice
from backlotfs.errors import SettingsError
from tests.fakes.records import row

NEWS = Label("1", "News", "/News", None)
LABELS = [
    NEWS,
    Label("2", "2024", "/News/2024", "1"),
    Label("3", "January", "/News/2024/January", "2"),
    Label("4", "Newsreel", "/Newsreel", None),
    Label("5", "AC/DC, live", "/AC/DC, live", None),
    Label("6", "Été", "/Été", "gone"),
    Label("7", "News", "/News", None),
    Label("8", "News", "/Newsreel/News", "4"),
    Label("9", "around", "/around", "9"),
]
#: Each label has one asset, called as its id.
MEMBERS = {label.id: [label.id] for label in LABELS}


def shown(*codes: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> str:
    """Those of the assets with these codes that are shown."""
    choice = Choice.of(include, exclude)
    assert choice is not None
    chosen = choice.among(LABELS, MEMBERS)
    return "".join(code for code in codes if chosen.shows(row(code)))


def matches(
    rule: str, name: str = "clip.mov", *, made: str | None = None, kind: str = "video"
) -> bool:
    """Whether a rule matches an asset; the same for including and excluding it."""
    made_s = 0 if made is None else calendar.timegm(tuple(map(int, made.split("-"))) + (0,) * 6)
    asset = row("A", name, created_at_s=made_s)._replace(asset_type=kind)
    including, excluding = Choice.of([rule], []), Choice.of([], [rule])
    assert including is not None
    assert excluding is not None
    found = including.among((), {}).shows(asset)
    assert excluding.among((), {}).shows(asset) is not found
    return found


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        ("*.mov", "clip.mov", True),
        ("*.mov", "CLIP.MOV", True),
        ("*.MOV", "clip.mov", True),
        ("name:*.mov", "clip.mov", True),
        ("NAME:*.mov", "clip.mov", True),
        ("*.mov", "clip.mov.txt", False),
        ("clip", "clip.mov", False),
        ("clip?.mov", "clip1.mov", True),
        ("clip[12].mov", "clip2.mov", True),
        ("clip[!12].mov", "clip2.mov", False),
        ("name:take: 2*", "Take: 2.mov", True),
        ("* [[]abc].mov", "clip [abc].mov", True),
        ("été*", "ÉTÉ.mov", True),
        ("e\u0301t\u00e9*", "Été.mov", True),
        ("straße.mov", "STRASSE.mov", True),
        ("stra?e.mov", "Straße.mov", True),
        ("*[ß]*.MOV", "straße.mov", True),
        ("*[ß]*.mov", "STRAẞE.mov", True),
        ("*[ß]*.mov", "strasse.mov", False),
        ("?.mov", "İ.mov", True),
        ("[Σ]?.mov", "ςÉ.mov", True),
        ("* with blanks ", "clip with blanks ", True),
        ("*", "two\nlines", True),
    ],
)
def test_names(pattern: str, name: str, is_match: bool) -> None:
    """Patterns of the shell for the whole name, in any case."""
    assert matches(pattern, name) is is_match


@pytest.mark.parametrize(
    ("rule", "first", "last"),
    [
        ("date:2024", "2024-1-1", "2024-12-31"),
        ("date:2024-02", "2024-2-1", "2024-2-29"),
        ("date:2024-12", "2024-12-1", "2024-12-31"),
        ("date:2024-01-31", "2024-1-31", "2024-1-31"),
        ("date:2024-01..2024-06", "2024-1-1", "2024-6-30"),
        ("date:2024..2025", "2024-1-1", "2025-12-31"),
        ("date:2023-12-31 .. 2024", "2023-12-31", "2024-12-31"),
    ],
)
def test_dates(rule: str, first: str, last: str) -> None:
    """From the first second to the last one, in UTC."""
    inside = [calendar.timegm((*map(int, day.split("-")), 0, 0, 0)) for day in (first, last)]
    since_s, until_s = inside[0], inside[1] + 86_400
    choice = Choice.of([rule], [])
    assert choice is not None
    chosen = choice.among((), {})
    found = [
        chosen.shows(row("A", created_at_s=at))
        for at in (since_s - 1, since_s, until_s - 1, until_s, 0)
    ]
    assert found == [False, True, True, False, False]


def test_open_dates_and_none() -> None:
    """A range may have one end; what has no date is in no range, as in the layout ``dates``."""
    assert matches("date:2024..", made="2090-1-1")
    assert not matches("date:2024..", made="2023-12-31")
    assert matches("date:..2024", made="1970-1-2")
    assert not matches("date:..2024", made="2025-1-1")
    assert not matches("date:..2024")
    assert matches("date:undated")
    assert not matches("date:Undated", made="1970-1-2")
    assert matches("date:9999..", made="9999-12-31")
    assert matches("date:9999-12", made="9999-12-31")


def test_types() -> None:
    """One type for each rule."""
    assert matches("type:video")
    assert matches("Type:VIDEO")
    assert not matches("type:audio")
    assert matches("type:audio", kind="audio")


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        ("News", "1237"),
        ("/news/", "1237"),
        ("News/2024", "23"),
        ("news / 2024/january", "3"),
        ("News/2", ""),
        ("2024", ""),
        ("Newsreel", "48"),
        ("Newsreel/News", "8"),
        ("AC/DC, live", "5"),
        ("AC\uff0fDC, live", "5"),
        ("AC", ""),
        ("e\u0301T\u00c9", "6"),
        ("around", ""),
    ],
)
def test_labels(path: str, codes: str) -> None:
    """A label's whole path, and all below it; by the parents, never by ``full_name``."""
    assert shown(*MEMBERS, include=(f"label:{path}",)) == codes


def test_precedence() -> None:
    """Any include rule, or none; and no exclude rule."""
    assert shown(*"1234", exclude=("label:News",)) == "4"
    assert shown(*"1234", include=("label:News", "label:Newsreel")) == "1234"
    assert shown(*"1234", include=("label:News",), exclude=("label:News/2024",)) == "1"
    assert shown(*"1234", include=("label:News/2024",), exclude=("label:News",)) == ""
    assert shown(*"1234", include=("*.mov",), exclude=("label:News/2024/January",)) == "124"
    assert Choice.of([], []) is None


def test_unknown_labels() -> None:
    """They are named, with the rule as it was given, and match nothing."""
    choice = Choice.of(["label:Nwes", "label:News"], ["label:/Gone/", "*.tmp"])
    assert choice is not None
    assert choice.needs_labels
    assert choice.among(LABELS, MEMBERS).unknown == ("label:Nwes", "label:/Gone/")
    assert choice.among([], MEMBERS).unknown == ("label:Nwes", "label:News", "label:/Gone/")
    without = Choice.of(["*.mov"], [])
    assert without is not None
    assert not without.needs_labels


def test_labels_nest_as_they_like() -> None:
    """A hundred thousand levels take no stack, and no memory for paths that no rule is about."""
    deep = [Label(str(n), "a" * 100, "", str(n - 1) if n else None) for n in range(100_000)]
    choice = Choice.of([f"label:{'a' * 100}/{'a' * 100}"], [])
    assert choice is not None
    (ids,) = choice.among(deep, {}).label_ids.values()
    assert len(ids) == 99_999


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("", "is empty; write it like *.mov, label:News"),
        ("name:", "is empty"),
        ("label: ", "is empty"),
        ("label://", "names no label; write it like label:News/2024"),
        ("lable:News", "begins with none of name:, label:, date:, type:; for a file name with a "),
        ("News/*.mov", "no file name contains a slash; for a label and all below it write label:N"),
        ("/*", "write label:News"),
        ("date:", "is empty"),
        ("date:..", "has no date; write it like date:2024, 2024-01"),
        ("date:2024-13", "has no date"),
        ("date:2023-02-29", "has no date"),
        ("date:24", "has no date"),
        ("date:2024/01", "has no date"),
        ("date:yesterday", "has no date"),
        ("date:0000", "has no date"),
        ("date:2024...2025", "has no date"),
        ("date:2024-06..2024-01", "ends before it begins; write the older date first"),
        ("type:video,audio", "write one rule for each type, like type:video"),
        ("type:*", "has no asset type"),
    ],
)
def test_what_is_no_rule(rule: str, says: str) -> None:
    """One line that names the rule, what is wrong, and what to write."""
    with pytest.raises(SettingsError) as raised:
        Choice.of([], ["*.mov", rule])
    assert f"the rule {rule!r} " in str(raised.value)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
