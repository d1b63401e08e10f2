"""Name modes, example by example."""

from __future__ import annotations

import pytest

from backlotfs.namespace.name_modes import (
    NameMode,
    assign,
    distinct,
    key,
    legal,
    names_for,
    tag,
    wanted,
)
from tests.unit.layouts.made_rows import MadeAsset

ORIGINAL, ALWAYS_ID, PORTABLE = NameMode


def wide(text: str) -> str:
    """The fullwidth forms of ASCII characters."""
    return text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})


def test_modes_are_spelled_as_on_the_command_line() -> None:
    """The values are a contract."""
    assert [mode.value for mode in NameMode] == ["original", "always-id", "portable"]


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
