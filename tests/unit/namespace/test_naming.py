# SPDX-License-Identifier: Apache-2.0
"""Assets to unique, legal file names: the rules, one by one, in each mode."""

from __future__ import annotations

import unicodedata

import pytest

from backlotfs.config.settings import NameMode
from backlotfs.namespace.naming import (
    MAX_NAME_BYTES,
    assign,
    base_name,
    distinct,
    fit,
    key,
    legal,
    legal_name,
    names_for,
    tag,
    wanted,
)
from tests.fakes.records import asset
from tests.unit.namespace.made_rows import MadeAsset

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


ORIGINAL, ALWAYS_ID, PORTABLE = NameMode


def wide(text: str) -> str:
    """The fullwidth forms of ASCII characters."""
    return text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})


def test_the_oldest_keeps_a_contested_name() -> None:
    """The others get the id before the extension; the order they come in does not matter."""
    assets = [
        MadeAsset("C", "clip.mov", created_at_s=2),
        MadeAsset("B", "clip.mov", created_at_s=1),
        MadeAsset("A", "clip.mov", created_at_s=2),
    ]
    expected = {"B": "clip.mov", "A": "clip [A].mov", "C": "clip [C].mov"}
    assert assign(ORIGINAL, assets, set()) == expected
    assert assign(ORIGINAL, assets[::-1], set()) == expected
    assert assign(PORTABLE, assets, set()) == expected
    assert names_for(NameMode.ORIGINAL, assets, {}) == expected


def test_a_given_name_is_not_taken_away() -> None:
    """An older asset that comes later yields to it."""
    assert assign(ORIGINAL, [MadeAsset("A", "clip.mov")], {"clip.mov"}) == {"A": "clip [A].mov"}


def test_a_file_that_is_called_like_a_contested_one() -> None:
    """Three of a kind end up with three names."""
    taken = {"clip.mov", "clip [A].mov", "clip [A]_.mov"}
    assert assign(ORIGINAL, [MadeAsset("A", "clip.mov")], taken) == {"A": "clip [A]_2.mov"}


def test_no_end_of_collisions_at_full_length() -> None:
    """255 bytes that end as the suffix does: there still is another name."""
    name = "x" * 200 + "_" * 55
    taken = {name}
    for _ in range(20):
        another = distinct(ORIGINAL, name, "A", taken)
        assert another not in taken
        assert len(another.encode()) <= 255
        taken.add(another)


def test_always_id_is_a_function_of_the_asset() -> None:
    """Neither what is taken nor what is beside it changes a name; the extension stays."""
    asset = MadeAsset("A", "clip.mov", created_at_s=9)
    older = MadeAsset("B", "clip.mov", created_at_s=1)
    expected = {"A": "clip [A].mov", "B": "clip [B].mov"}
    assert assign(ALWAYS_ID, [asset, older], {"clip [A].mov"}) == expected
    assert assign(ALWAYS_ID, [asset], set()) == {"A": "clip [A].mov"}


@pytest.mark.parametrize(
    ("uploaded", "name"),
    [
        (
            '<a>:"b"|c?*.mov',
            f"{wide('<')}a{wide('>:')}{wide(chr(34))}b{wide(chr(34) + '|')}c{wide('?*')}.mov",
        ),
        ("a\\b.mov", f"a{wide(chr(92))}b.mov"),
        ("C:\\dir\\clip.mov", "clip.mov"),
        ("clip.", f"clip{wide('.')}"),
        ("clip. ", "clip.\u2420"),
        ("clip...", f"clip..{wide('.')}"),
        (" clip.mov", " clip.mov"),
        ("con", "con_"),
        ("CON.mov", "CON_.mov"),
        ("nul.tar.gz", "nul_.tar.gz"),
        ("Com1 .mov", "Com1_ .mov"),
        ("lpt³.mov", "lpt³_.mov"),
        ("conin$", "conin$_"),
        ("CON.", f"CON_{wide('.')}"),
        ("COM10.mov", "COM10.mov"),
        ("console.mov", "console.mov"),
        ("clip.con", "clip.con"),
        ("\x01\x7f", "\u2401\u2421"),
        ("", f"A title{wide('?')}"),
        (None, f"A title{wide('?')}"),
    ],
)
def test_portable_names(uploaded: str | None, name: str) -> None:
    """What Windows forbids, drops at the end, or takes for a device."""
    assert wanted(PORTABLE, MadeAsset("A", uploaded, "A title?")) == name


def test_portable_names_fit_when_look_alikes_are_longer() -> None:
    """One byte becomes three; the extension stays."""
    name = wanted(PORTABLE, MadeAsset("A", "?" * 250 + ".mov"))
    assert name == wide("?") * 83 + ".mov"
    assert len(name.encode()) <= 255
    assert wanted(PORTABLE, MadeAsset("A", "." * 255)) == "." * 252 + wide(".")


def test_cutting_does_not_make_a_device() -> None:
    """A name that is cut down to a device's name is made harmless after all."""
    assert wanted(PORTABLE, MadeAsset("A", "con" + "\xa0" * 126 + ".")) == "con_"
    assert wanted(PORTABLE, MadeAsset("A", "con" + " " * 300 + ".mov")) == "con_.mov"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Clip.MOV", "clip.mov"),
        ("STRASSE", "straße"),
        ("caf\u00e9", "cafe\u0301"),
        ("\u01f0.mov", "\u01f0.mov".upper()),
    ],
)
def test_portable_keys_are_blind_to_case(one: str, other: str) -> None:
    """Nor does the normal form matter. The other modes tell them apart."""
    assert key(PORTABLE, one) == key(PORTABLE, other)
    assert key(ORIGINAL, one) != key(ORIGINAL, other)


def test_portable_names_differ_without_regard_to_case() -> None:
    """As ``original`` does with equal ones."""
    assets = [MadeAsset("A", "Clip.mov", created_at_s=1), MadeAsset("B", "CLIP.MOV")]
    assert assign(PORTABLE, assets, set()) == {"A": "Clip [A].mov", "B": "CLIP.MOV"}
    assert assign(PORTABLE, assets, {"clip.mov"})["B"] == "CLIP [B].MOV"
    assert assign(ORIGINAL, assets, set()) == {"A": "Clip.mov", "B": "CLIP.MOV"}


def test_legal_names_of_a_mode() -> None:
    """For what is no asset: labels."""
    assert legal(ORIGINAL, "a/b?") == f"a{wide('/')}b?"
    assert legal(PORTABLE, "a/b?") == f"a{wide('/')}b{wide('?')}"
    assert legal(ALWAYS_ID, "..") == wide("..")
    assert legal(PORTABLE, "") == ""


@pytest.mark.parametrize("plain", ["44M2pjZDpQDEZvK_MWsQJzT-bBFlhVsS", "0" * 128])
def test_real_ids_stand_as_they_are(plain: str) -> None:
    """Users search for them."""
    assert tag(plain) == plain


def test_strange_ids_are_told_apart() -> None:
    """Whatever they are: no brackets, no dots, short, all different."""
    strange = ["a.b", "a%2Eb", "a] [b", "a[b", "é", "e\u0301", "a b", "%", "%%", "é" * 60, "é" * 61]
    tags = [tag(identifier) for identifier in strange]
    assert len(set(tags)) == len(tags)
    for text in tags:
        assert not set(text) & set("[]. /\\")
        assert 1 <= len(text.encode()) <= 128
