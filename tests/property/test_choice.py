# SPDX-License-Identifier: Apache-2.0
"""Rules for random libraries, beside a slow and simple reference."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.api.records import Label
from backlotfs.catalog.choice import Choice, parse_rule
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.errors import SettingsError
from tests.fakes.records import row

CODES = ["A", "B", "C", "D"]
IDS = ["1", "2", "3", "4", "5"]
TIMES = [0, 1, 1_359_676_799, 1_359_676_800, 1_388_534_399, 1_388_534_400]
RULES = [
    "*.mov", "a*", "[ab].*", "type:video", "type:audio", "date:2013", "date:2013-01", "date:..2013",
    "date:2013-02-01..", "date:undated", "label:x", "label:x/y", "label:y/x", "label:x/y/z",
]  # fmt: skip
assets = st.lists(
    st.builds(
        lambda code, name, made_s, kind: row(code, name, created_at_s=made_s)._replace(
            asset_type=kind
        ),
        st.sampled_from(CODES),
        st.sampled_from(["a.mov", "B.MOV", "c.mp4"]),
        st.sampled_from(TIMES),
        st.sampled_from(["video", "audio"]),
    ),
    unique_by=lambda one: one.embed_code,
)
labels = st.lists(
    st.builds(
        lambda label_id, name, parent: Label(label_id, name, "", parent),
        st.sampled_from(IDS),
        st.sampled_from(["x", "Y", "z"]),
        st.none() | st.sampled_from([*IDS, "gone"]),
    ),
    unique_by=lambda label: label.id,
)
members = st.dictionaries(st.sampled_from([*IDS, "gone"]), st.lists(st.sampled_from(CODES)))
rules = st.lists(st.sampled_from(RULES), max_size=3)


def is_match(
    rule: str, asset: AssetRow, tree: Sequence[Label], members: Mapping[str, Sequence[str]]
) -> bool:
    """Whether a rule of `RULES` matches."""
    kind, _, value = rule.rpartition(":")
    if kind == "type":
        return asset.asset_type == value
    if kind == "date":
        made_s = asset.created_at_s
        if not made_s or value == "undated":
            return not made_s and value == "undated"
        day = datetime.fromtimestamp(made_s, UTC).strftime("%Y-%m-%d")
        first, mark, last = value.partition("..")
        if not mark:
            return day.startswith(first)
        return first <= day and (not last or day[: len(last)] <= last)
    if kind == "label":
        return any(is_below(value, label.id, tree) and asset.embed_code in members.get(label.id, ())
                   for label in tree)  # fmt: skip
    return fnmatch.fnmatchcase(asset.name.lower(), value)


def is_below(path: str, label_id: str, tree: Sequence[Label]) -> bool:
    """Whether a label or one above it is at a path."""
    by_id = {label.id: label for label in tree}
    names: list[str] = []
    at: str | None = label_id
    while at in by_id:
        names.insert(0, by_id[at].name.lower())
        at = by_id[at].parent_id
        if len(names) > len(tree):
            return False  # around in a circle
    return f"{'/'.join(names)}/".startswith(f"{path}/")


@given(assets, labels, members, rules, rules)
def test_what_is_shown(
    assets: list[AssetRow],
    labels: list[Label],
    members: dict[str, list[str]],
    include: list[str],
    exclude: list[str],
) -> None:
    """What matches any include rule, or there is none, and no exclude rule."""
    choice = Choice.of(include, exclude)
    shown = assets
    if choice is not None:
        chosen = choice.among(labels, members)
        shown = [asset for asset in assets if chosen.shows(asset)]
    expected = [
        asset
        for asset in assets
        if (not include or any(is_match(rule, asset, labels, members) for rule in include))
        and not any(is_match(rule, asset, labels, members) for rule in exclude)
    ]
    assert shown == expected


@given(
    st.sampled_from(["", "name:", "label:", "date:", "type:", "x:"]),
    st.text() | st.text("[]!-*?.:/0123456789 a"),
    st.text(),
)
def test_any_text(kind: str, text: str, name: str) -> None:
    """It is a rule that can be asked, or a `SettingsError`; nothing else."""
    with contextlib.suppress(SettingsError):
        assert parse_rule(kind + text).text == kind + text
        choice = Choice.of([kind + text], [])
        assert choice is not None
        assert choice.among([], {}).shows(row("A", name)) in (True, False)
