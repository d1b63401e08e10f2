# SPDX-License-Identifier: Apache-2.0
"""Mounts that show a part of the library: what is there, what is asked for, and what changes."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedAsset, EmulatedLabel, Emulator
from tests.conftest import MountIt, Serve
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import (
    KeptLibrary,
    ask_for_refresh,
    shown,
    status,
    uploaded,
    url_calls,
    wait_until_sized,
)
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video

pytestmark = pytest.mark.mounted

NEWS = EmulatedLabel("a1" * 16, "News")
LOCAL = EmulatedLabel("b2" * 16, "Local", NEWS.label_id)
SPORTS = EmulatedLabel("c3" * 16, "Sports")
EMPTY = EmulatedLabel("d4" * 16, "Empty")
LABELS = [NEWS, LOCAL, SPORTS, EMPTY]
JANUARY_2024 = 1_704_067_200


def labelled(
    name: str, *labels: EmulatedLabel, tag: str = "", month: int = 0, kind: str = "video"
) -> EmulatedAsset:
    """An asset with these labels, made so many times 31 days after the new year of 2024."""
    ids = tuple(label.label_id for label in labels)
    made = JANUARY_2024 + month * 31 * 86_400
    return video(name, 100 + len(name), tag=tag, label_ids=ids, created_at=made, asset_type=kind)


FIRE = labelled("fire.mov", LOCAL)
VOTE = labelled("vote.MOV", NEWS, SPORTS, month=1)
GOAL = labelled("goal.mov", SPORTS, month=2)
SONG = labelled("song.mp3", month=3, kind="audio")
TWIN = labelled("fire.mov", SPORTS, tag="twin", month=12)
ASSETS = [FIRE, VOTE, GOAL, SONG, TWIN]
#: As every mount of this library calls them.
TWINS_NAME = f"fire [{TWIN.embed_code}].mov"
NAMES = {"fire.mov", "vote.MOV", "goal.mov", "song.mp3", TWINS_NAME}


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The library."""
    running = serve(*ASSETS)
    for label in LABELS:
        running.library.put_label(label)
    return running


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library for tests that change it."""
    kept = keep(*ASSETS)
    for label in LABELS:
        kept.emulator.library.put_label(label)
    return kept


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--include", "*.mov"], NAMES - {"song.mp3"}),
        (["--include", "label:News"], {"fire.mov", "vote.MOV"}),
        (["--include", "label:news/local"], {"fire.mov"}),
        (["--include", "date:2024-02..2024-03"], {"vote.MOV", "goal.mov"}),
        (["--exclude", "date:2024"], {TWINS_NAME}),
        (["--include", "type:audio"], {"song.mp3"}),
        (["--include", "type:audio", "--include", "goal*"], {"song.mp3", "goal.mov"}),
        (["--include", "label:Sports", "--exclude", "label:News"], {"goal.mov", TWINS_NAME}),
        (["--exclude", "fire*", "-o", 'exclude=label:News,exclude="name:s*,x"'],
         {"goal.mov", "song.mp3"}),
    ],
)  # fmt: skip
def test_what_is_there(
    emulator: Emulator, mounted: MountIt, options: list[str], names: set[str]
) -> None:
    """Under the names of the whole library, with their bytes; nothing else can be looked up."""
    mount = mounted(emulator, *options)
    assert set(os.listdir(mount.path)) == names
    assert {name for name in NAMES if (mount / name).exists()} == names
    if "fire.mov" in names:
        assert_same_bytes(mount / "fire.mov", FIRE)
    if TWINS_NAME in names:
        assert_same_bytes(mount / TWINS_NAME, TWIN)
    wait_until_sized(mount)
    answer = status(mount)
    assert answer["assets"] == answer["sizes"]["total"] == len(names)
    assert answer["choice"]["of_assets"] == len(ASSETS)
    found = os.statvfs(mount.path)
    assert found.f_files - found.f_ffree == len(names)
    assert answer["size_bytes"] == sum((mount / name).stat().st_size for name in names)


def test_ls_and_a_mount_agree_on_names(kept: KeptLibrary) -> None:
    """Also if a mount of a part is the first that ever saw the library."""
    mount = kept.mount("--include", "label:Sports")
    words = [
        "ls",
        "--json",
        "--cache-dir",
        str(kept.cache),
        "--config",
        str(mount.folder / "config.toml"),
    ]
    listed = commands.run(*words, home=mount.folder).stdout.splitlines()
    assert set(os.listdir(mount.path)) < {json.loads(line)["file"] for line in listed} == NAMES
    mount.close()
    assert set(kept.fill()) == NAMES


def test_folders_of_labels(emulator: Emulator, mounted: MountIt) -> None:
    """Those that have a file of the part in or below them; a file is in all of its labels."""
    mount = mounted(emulator, "--layout", "labels,dates", "--include", "label:News")
    found = {
        str(Path(folder, name).relative_to(mount.path))
        for folder, _, names in os.walk(mount.path)
        for name in names
    }
    assert found == {
        "labels/News/Local/fire.mov", "labels/News/vote.MOV", "labels/Sports/vote.MOV",
        "dates/2024/01/fire.mov", "dates/2024/02/vote.MOV",
    }  # fmt: skip
    assert sorted(os.listdir(mount / "labels")) == ["News", "Sports"]


def test_nothing_is_asked_about_what_is_hidden(kept: KeptLibrary) -> None:
    """No size and no captions: neither at first, nor after a change of it, nor at a re-mount."""
    options = ("--captions", "--include", "label:News", "--exclude", "vote*")
    hidden = [asset for asset in ASSETS if asset is not FIRE]
    mount = kept.mount(*options)
    wait_until_sized(mount)
    wait_until(
        lambda: kept.emulator.requests.count(route="closed_captions") > 0, "the search of captions"
    )
    kept.emulator.library.edit(GOAL.embed_code, title="Another")
    kept.emulator.library.add(uploaded("new.mov"))
    synced_at = status(mount)["synced_at"]
    ask_for_refresh(mount)
    wait_until(lambda: status(mount)["synced_at"] > synced_at, "the sync")
    mount.close()
    again = kept.mount(*options)
    kept.wait_until_checked(again)
    assert set(shown(again)) == {"fire.mov"}
    assert url_calls(kept.emulator, FIRE) == 1
    assert [url_calls(kept.emulator, asset) for asset in hidden] == [0] * len(hidden)
    assert kept.emulator.requests.count(route="closed_captions") == 1


def test_an_asset_gets_a_label_and_loses_it(kept: KeptLibrary) -> None:
    """It appears like an upload and is gone like a deleted one, under the name that it has."""
    mount = kept.mount("--include", "label:News")
    wait_until_sized(mount)
    path = mount / TWINS_NAME
    assert not path.exists()
    before_s = mount.path.stat().st_mtime
    kept.emulator.library.edit(TWIN.embed_code, label_ids=(LOCAL.label_id,))
    ask_for_refresh(mount)
    wait_until(path.exists, "the labelled asset")
    assert TWINS_NAME in os.listdir(mount.path)
    assert_same_bytes(path, TWIN)
    assert mount.path.stat().st_mtime > before_s
    time.sleep(1.1)  # updated_at has whole seconds
    kept.emulator.library.edit(TWIN.embed_code, label_ids=(SPORTS.label_id,))
    ask_for_refresh(mount)
    wait_until(lambda: not path.exists(), "the asset to go")
    assert set(os.listdir(mount.path)) == {"fire.mov", "vote.MOV"}
    with pytest.raises(FileNotFoundError):
        path.open("rb")


def test_a_label_that_is_not_there(kept: KeptLibrary) -> None:
    """The log, ``status`` and the command name it; when it comes, its files come."""
    mount = kept.mount("--include", "label:Culture")
    mount.expect_log("label:Culture matches nothing|no asset of the library is shown")
    assert os.listdir(mount.path) == []
    log = mount.log_text()
    assert len(re.findall("the rule label:Culture matches nothing: .* no such label", log)) == 1
    assert "no asset of the library is shown" in log
    answer = status(mount)
    assert (answer["assets"], answer["choice"]) == (
        0,
        {
            "include": ["label:Culture"],
            "exclude": [],
            "unknown_labels": ["label:Culture"],
            "of_assets": len(ASSETS),
        },
    )
    said = commands.run("status", mount.path, home=mount.folder).stdout
    assert "0 of 5 assets: include label:Culture (no such label)" in said
    culture = kept.emulator.library.put_label(EmulatedLabel("e5" * 16, "Culture"))
    kept.emulator.library.edit(SONG.embed_code, label_ids=(culture.label_id,))
    ask_for_refresh(mount)
    wait_until((mount / "song.mp3").exists, "the label")
    assert status(mount)["choice"]["unknown_labels"] == []


def test_mounts_of_one_library_with_different_parts(kept: KeptLibrary) -> None:
    """They share a complete catalog; the labels are fetched if the first mount needed none."""
    kept.fill()
    kept.emulator.requests.clear()
    one = kept.mount("--include", "label:News")
    other = kept.mount("--exclude", "label:News")
    assert set(os.listdir(one.path)) == {"fire.mov", "vote.MOV"}
    assert set(os.listdir(other.path)) == {"goal.mov", "song.mp3", TWINS_NAME}
    for mount in (one, other):
        wait_until_sized(mount)
    assert [url_calls(kept.emulator, asset) for asset in ASSETS] == [0] * len(ASSETS)
