# SPDX-License-Identifier: Apache-2.0
"""Given names through random histories: uploads, deletions, renames, swaps, restarts."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from backlotfs.config.settings import NameMode
from backlotfs.namespace.naming import assign, base_name, key, legal, names_for, tag, wanted
from tests.unit.namespace.made_rows import MadeAsset

# short codes that are alike but for case or that look like parts of names
CODES = st.sampled_from(["A", "a", "B", "C", "D", "con", "A]", "a.b"])
LIKELY = [
    "clip.mov", "CLIP.mov", "clip [A].mov", "clip [a].mov", "clip [A]_.mov", "clip", "con.mov",
    "clip?.mov", "clip\uff1f.mov", "clip.", "x" * 255, "x" * 300, "\u0130.mov", "a/b",
    "C:\\d\\clip.mov",
]  # fmt: skip
uploaded_names = st.none() | st.sampled_from(LIKELY) | st.text("cC.:?[]A ", max_size=8)
# few: ties are the rule
times = st.integers(0, 3)
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"} | {
    port + number for port in ("com", "lpt") for number in "0123456789¹²³"
}


def derived(mode: NameMode, assets: Mapping[str, MadeAsset]) -> dict[str, str]:
    """The rule said once more: the senior chooses first, whom a name is denied takes its id."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for code in sorted(assets, key=lambda code: (assets[code].created_at_s, code)):
        name = wanted(mode, assets[code])
        stem, dot, extension = name.rpartition(".")
        if not (stem and extension.isalnum()):
            stem, dot, extension = name, "", ""
        suffixes = [f" [{tag(code)}]{more}{dot}{extension}" for more in ("", "_", "_2")]
        tries = [name, *(shortened(stem, suffix) + suffix for suffix in suffixes)]
        names[code] = next(one for one in tries if key(mode, one) not in taken)
        taken.add(key(mode, names[code]))
    return names


def shortened(stem: str, suffix: str) -> str:
    """As much of it as fits beside the suffix."""
    if len((stem + suffix).encode()) <= 255:
        return stem
    while len((stem + suffix).encode()) > 255:
        stem = stem[:-1]
    return stem.rstrip()


class History(RuleBasedStateMachine):
    """A catalog that gives names at every sync, beside what users were promised."""

    mode = NameMode.ORIGINAL
    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.assets: dict[str, MadeAsset] = {}
        self.stored: dict[str, str] = {}
        self.promised: dict[str, str] = {}

    @rule(target=known, code=CODES, uploaded=uploaded_names, at=times)
    def upload(self, code: str, uploaded: str | None, at: int) -> object:
        """An asset; one with this code is there only once."""
        if code in self.assets:
            return multiple()
        self.assets[code] = MadeAsset(code, uploaded, "clip", at)
        return code

    @rule(code=consumes(known))
    def delete(self, code: str) -> None:
        """Its name is free again; the same code later is another asset."""
        del self.assets[code]
        self.stored.pop(code, None)
        self.promised.pop(code, None)

    @rule(code=known, uploaded=uploaded_names)
    def rename(self, code: str, uploaded: str | None) -> None:
        """The source is replaced by a file called otherwise."""
        self.assets[code] = self.assets[code]._replace(original_file_name=uploaded)

    @rule(one=known, other=known)
    def swap(self, one: str, other: str) -> None:
        """Two assets exchange their original names."""
        names = self.assets[one].original_file_name, self.assets[other].original_file_name
        self.rename(one, names[1])
        if one != other:
            self.rename(other, names[0])

    @rule()
    def sync(self) -> None:
        """The nameless get names, the others keep theirs."""
        nameless = [asset for code, asset in self.assets.items() if code not in self.stored]
        taken = {key(self.mode, name) for name in self.stored.values()}
        given_now = assign(self.mode, nameless, taken)
        assert given_now.keys() == {asset.embed_code for asset in nameless}
        self.stored |= given_now
        self.promised |= given_now

    @rule()
    def restart(self) -> None:
        """What is stored comes back, in another order; then comes the first sync."""
        self.stored = dict(reversed(self.stored.items()))
        self.assets = dict(reversed(self.assets.items()))
        self.sync()

    @rule()
    def lose_the_catalog(self) -> None:
        """Names are derived again by the same rule, whatever happened before."""
        self.stored.clear()
        self.promised.clear()
        self.sync()
        assert self.stored == derived(self.mode, self.assets)

    @invariant()
    def names_stay(self) -> None:
        """With their asset, for its life."""
        assert self.stored == self.promised

    @invariant()
    def names_are_unique(self) -> None:
        """By the mode's own measure."""
        keys = {key(self.mode, name) for name in self.stored.values()}
        assert len(keys) == len(self.stored)

    @invariant()
    def names_are_legal(self) -> None:
        """In every mode for Linux, in ``portable`` for Windows too."""
        for name in self.stored.values():
            check_legal(self.mode, name)


def check_legal(mode: NameMode, name: str) -> None:
    """What every name of a mode is."""
    assert name not in ("", ".", "..")
    assert len(name.encode()) <= 255
    assert unicodedata.is_normalized("NFC", name)
    assert not any(char < " " or char in "/\x7f" for char in name)
    if mode is NameMode.PORTABLE:
        assert len(name.encode("utf-16-le")) // 2 <= 255
        assert not set(name) & set('<>:"|?*\\')
        assert name[-1] not in ". "
        assert name.partition(".")[0].rstrip(" ").lower() not in DEVICES


@pytest.mark.parametrize("mode", NameMode)
def test_given_names(mode: NameMode) -> None:
    """They stay, they are unique, they are legal, and they are found again."""
    machine = type("ModeHistory", (History,), {"mode": mode})
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=30, deadline=None))


assets = st.lists(
    st.builds(MadeAsset, CODES, uploaded_names | st.text(), st.text(), times),
    unique_by=lambda asset: asset.embed_code,
)


@given(assets)
def test_original_is_the_rule_of_naming(made: list[MadeAsset]) -> None:
    """The first name of each kind goes to the same asset as ever."""
    mode = NameMode.ORIGINAL
    older = names_for(NameMode.ORIGINAL, made, {})
    for code, name in assign(mode, made, ()).items():
        asset = next(one for one in made if one.embed_code == code)
        assert (name == base_name(asset)) == (older[code] == base_name(asset))


@given(assets, st.sets(st.sampled_from(LIKELY)))
def test_always_id_has_no_history(made: list[MadeAsset], taken: set[str]) -> None:
    """Each alone is called as all together, beside whatever was given before."""
    mode = NameMode.ALWAYS_ID
    together = assign(mode, made, taken)
    for asset in made:
        assert assign(mode, [asset], ()) == {asset.embed_code: together[asset.embed_code]}
        assert f"[{tag(asset.embed_code)}]" in together[asset.embed_code]


@given(st.text() | st.text("con.ulCN \xa0?*\x00/", max_size=300), st.sampled_from(list(NameMode)))
def test_legal_names_are_legal_and_stay(text: str, mode: NameMode) -> None:
    """Of anything; making a legal name legal changes nothing."""
    name = legal(mode, text)
    if name:
        check_legal(mode, name)
    assert legal(mode, name) == name
