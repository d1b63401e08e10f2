"""Assets to unique, legal file names: the rules of the README, one by one."""

from __future__ import annotations

import unicodedata

import pytest

from backlotfs.namespace.name_modes import NameMode, names_for
from backlotfs.namespace.naming import MAX_NAME_BYTES, base_name, fit, legal_name
from tests.unit.fakes import asset

LONG = "x" * 251 + ".mov"


def name_of(original: str | None, *, title: str = "Title") -> str:
    """The name an asset gets when it is alone."""
    return base_name(asset("E1", original, title=title))


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("clip.mov", "clip.mov"),
        ("harbour take#2, [final] 日本.mov", "harbour take#2, [final] 日本.mov"),
        (" leading and trailing ", " leading and trailing "),
        (".hidden", ".hidden"),
        # what an upload form or an FTP client put before it
        ("C:\\dir\\clip.mov", "clip.mov"),
        ("c:/dir/clip.mov", "clip.mov"),
        ("C:\\clip.mov", "clip.mov"),
        ("\\\\server\\share\\x.mov", "x.mov"),
        ("\\\\server\\share\\dir\\x.mov", "x.mov"),
        ("/Users/a/x.mov", "x.mov"),
        ("/x.mov", "x.mov"),
        ("C:\\two\nlines\\clip.mov", "clip.mov"),
        # what only looks like a path
        ("AC/DC.mov", "AC\uff0fDC.mov"),
        ("a\\b.mov", "a\\b.mov"),
        ("Scene 1: dir\\clip.mov", "Scene 1: dir\\clip.mov"),
        ("C:clip.mov", "C:clip.mov"),
        # look-alikes
        (".", "\uff0e"),
        ("..", "\uff0e\uff0e"),
        ("...", "..."),
        ("a\0b\nc\td\x7f.mov", "a\u2400b\u240ac\u2409d\u2421.mov"),
        # normal form
        ("e\u0301.mov", "é.mov"),
        ("\u212b.mov", "Å.mov"),
        # halves of characters, which were bytes that are not UTF-8
        ("a\udcffb.mov", "a\ufffdb.mov"),
        ("\ud83d\ude00.mov", "😀.mov"),
        ("\ud83d.mov", "\ufffd.mov"),
        # no name: the title stands in
        (None, "Title"),
        ("", "Title"),
        ("C:\\dir\\", "Title"),
        ("/Users/a/", "Title"),
        ("/", "Title"),
    ],
)
def test_base_name(original: str | None, name: str) -> None:
    """Each rule, and what must not fall under it."""
    assert name_of(original) == name


def test_the_embed_code_is_the_last_resort() -> None:
    """Neither a file name nor a title."""
    assert name_of(None, title="") == "E1"
    assert name_of("", title="a/b") == "a\uff0fb"


@pytest.mark.parametrize("dots", [".", ".."])
@pytest.mark.parametrize("space", [" ", "\u3000"])
def test_a_cut_leaves_no_dots(dots: str, space: str) -> None:
    """What is left after the end of a long name is taken away is a legal name too."""
    assert legal_name(dots + space * 300) not in (".", "..")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (LONG, LONG),
        ("x" * 252 + ".mov", LONG),
        ("x" * 300, "x" * 255),
        ("é" * 200 + ".mov", "é" * 125 + ".mov"),
        ("x" * 300 + "." + "y" * 17, "x" * 255),
        ("x" * 300 + ". the end", "x" * 255),
        ("x" * 250 + "日.mov", "x" * 250 + ".mov"),
        ("x" * 250 + " " * 9 + "y.mov", "x" * 250 + ".mov"),
    ],
)
def test_at_most_255_bytes(name: str, kept: str) -> None:
    """Of UTF-8, no character cut in half, the extension kept if it is one."""
    assert legal_name(name) == kept
    assert len(kept.encode()) <= MAX_NAME_BYTES


@pytest.mark.parametrize(
    ("name", "fitted"),
    [
        ("clip.mov", "clip [E1].mov"),
        ("archive.tar.gz", "archive.tar [E1].gz"),
        ("Dr. Strangelove and the rest", "Dr. Strangelove and the rest [E1]"),
        ("no extension", "no extension [E1]"),
        (".hidden", ".hidden [E1]"),
        ("ends with.", "ends with. [E1]"),
        (LONG, "x" * 246 + " [E1].mov"),
    ],
)
def test_a_suffix_goes_before_the_extension(name: str, fitted: str) -> None:
    """And the stem gives way when there is no room."""
    assert fit(name, " [E1]") == fitted


def test_the_oldest_keeps_a_contested_name() -> None:
    """By creation, then by embed code; in whatever order they are listed."""
    assets = [
        asset("C", created_at_s=5),
        asset("B", created_at_s=3),
        asset("A", created_at_s=5),
        asset("D", "other.mov", created_at_s=9),
    ]
    names = {"B": "clip.mov", "A": "clip [A].mov", "C": "clip [C].mov", "D": "other.mov"}
    assert names_for(NameMode.ORIGINAL, assets, {}) == names
    assert names_for(NameMode.ORIGINAL, reversed(assets), {}) == names


def test_names_that_become_equal() -> None:
    """By replacement, normal form or a cut, not only as they were uploaded."""
    for one, two in (("a/b", "a\uff0fb"), ("é", "e\u0301"), (LONG + ".mov", LONG + "x.mov")):
        names = names_for(NameMode.ORIGINAL, [asset("A", one), asset("B", two)], {})
        assert len(set(names.values())) == 2
        assert names["A"] == legal_name(one)


def test_case_tells_names_apart() -> None:
    """As everywhere on Linux."""
    names = names_for(NameMode.ORIGINAL, [asset("A", "Clip.mov"), asset("B", "clip.mov")], {})
    assert set(names.values()) == {"Clip.mov", "clip.mov"}


def test_somebody_uploaded_a_file_that_is_called_just_so() -> None:
    """The name that a duplicate would get is taken: it gets yet another."""
    assets = [
        asset("A", "clip.mov", created_at_s=1),
        asset("X", "clip [B].mov", created_at_s=2),
        asset("B", "clip.mov", created_at_s=3),
    ]
    names = names_for(NameMode.ORIGINAL, assets, {})
    assert names["A"] == "clip.mov"
    assert names["X"] == "clip [B].mov"
    assert names["B"] not in (names["A"], names["X"])
    assert names["B"].endswith(".mov")


@pytest.mark.timeout(10)
def test_hostile_names_of_full_length_end() -> None:
    """Every name that a duplicate could get is taken, and no room is left to make it longer."""
    taken, name = [LONG], fit(LONG, " [B]")
    for _ in range(12):
        taken.append(name)
        name = fit(name, "_")
    taken += [fit(LONG, " [B]" + "_" * count) for count in range(1, 12)]
    taken += [fit(LONG, f" [B] ({count})") for count in range(1, 12)]
    hostile = [asset(f"A{at}", text, created_at_s=at) for at, text in enumerate(set(taken))]
    names = names_for(NameMode.ORIGINAL, [*hostile, asset("B", LONG, created_at_s=99)], {})
    assert len(set(names.values())) == len(names)
    assert all(len(found.encode()) <= MAX_NAME_BYTES for found in names.values())


def test_a_name_that_was_given_stays() -> None:
    """Whatever is uploaded or deleted beside it."""
    young, old = asset("Y", created_at_s=9), asset("O", created_at_s=1)
    given = names_for(NameMode.ORIGINAL, [young], {})
    both = names_for(NameMode.ORIGINAL, [old, young], given)
    assert both == {"Y": "clip.mov", "O": "clip [O].mov"}
    assert names_for(NameMode.ORIGINAL, [old], both) == {"O": "clip [O].mov"}


def test_a_new_title_or_file_name_renames_nothing() -> None:
    """A path in somebody's playlist goes on working."""
    given = names_for(NameMode.ORIGINAL, [asset("A", "before.mov")], {})
    assert names_for(NameMode.ORIGINAL, [asset("A", "after.mov")], given) == {"A": "before.mov"}


def test_names_are_in_normal_form() -> None:
    """A suffix, a cut or a look-alike does not take it away."""
    for text in ("e\u0301" * 200, "a/\u0301", "\u1100\u1161\u11a8" * 100 + ".mov"):
        name = fit(legal_name(text), " [E1]")
        assert unicodedata.is_normalized("NFC", name)
