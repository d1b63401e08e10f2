# SPDX-License-Identifier: Apache-2.0
"""Layouts and ways of naming over a real mount."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedAsset, EmulatedLabel, Emulator
from tests.conftest import MountIt, Serve
from tests.mounted.catalog.kept_library import ask_for_refresh
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

SPORTS = EmulatedLabel("a1" * 16, "Sports")
RACING = EmulatedLabel("b2" * 16, "Racing", SPORTS.label_id)
SLASHED = EmulatedLabel("c3" * 16, "AC/DC, live")
TWIN = EmulatedLabel("d4" * 16, "Sports")
EMPTY = EmulatedLabel("e5" * 16, "Nothing in it")
LABELS = [SPORTS, RACING, SLASHED, TWIN, EMPTY]

MARCH_2016 = 1_457_000_000


def labelled(name: str, *labels: EmulatedLabel, tag: str = "", month: int = 0) -> EmulatedAsset:
    """An asset with these labels, made so many times 31 days after March 2016."""
    ids = tuple(label.label_id for label in labels)
    made = MARCH_2016 + month * 31 * 86_400
    return video(name, 1000 + len(name), tag=tag, label_ids=ids, created_at=made)


RACE = labelled("race.mov", SPORTS, RACING, SLASHED)
GOAL = labelled("goal.mov", TWIN, month=1)
PLAIN = labelled("plain.mov", month=2)
RACE_TOO = labelled("RACE.mov", RACING, tag="too", month=12)
ODD = labelled("con.mov", month=12)
ASSETS = [RACE, GOAL, PLAIN, RACE_TOO, ODD]


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The library."""
    running = serve(*ASSETS)
    for label in LABELS:
        running.library.put_label(label)
    return running


@pytest.fixture(scope="module")
def mount(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """All layouts beside each other."""
    folder = tmp_path_factory.mktemp("layouts")
    with Mount(emulator, folder, "--layout", "flat,labels,dates,by-id") as running:
        yield running


def places(mount: Mount, asset: EmulatedAsset) -> list[Path]:
    """Where an asset is."""
    flat = mount / "flat" / str(asset.original_file_name)
    inode = flat.stat().st_ino
    return [
        Path(folder, name)
        for folder, _, names in os.walk(mount.path)
        for name in names
        if os.lstat(Path(folder, name)).st_ino == inode
    ]


def test_each_layout_is_a_folder(mount: Mount) -> None:
    """Called like the layout; the root holds nothing else."""
    assert sorted(os.listdir(mount.path)) == ["by-id", "dates", "flat", "labels"]


def test_flat(mount: Mount) -> None:
    """Everything by its name."""
    assert sorted(os.listdir(mount / "flat")) == sorted(str(a.original_file_name) for a in ASSETS)


def test_the_label_tree(mount: Mount) -> None:
    """By the parents, not by the slashes in names; twins are told apart; nobody is lost."""
    labels = mount / "labels"
    twins = [name for name in os.listdir(labels) if name.startswith("Sports")]
    assert len(twins) == 2
    inside = {name: sorted(os.listdir(labels / name)) for name in twins}
    assert sorted(inside.values()) == [["Racing", "race.mov"], ["goal.mov"]]
    assert "Sports" in twins
    (racing,) = [labels / name / "Racing" for name in twins if "Racing" in inside[name]]
    assert sorted(os.listdir(racing)) == ["RACE.mov", "race.mov"]
    assert os.listdir(labels / "AC\uff0fDC, live") == ["race.mov"]
    assert os.listdir(labels / "Nothing in it") == []
    assert sorted(os.listdir(labels / "Unlabeled")) == ["con.mov", "plain.mov"]
    assert len(os.listdir(labels)) == 5


def test_dates(mount: Mount) -> None:
    """Years and months of creation, UTC."""
    found = {
        str(Path(folder, name).relative_to(mount / "dates"))
        for folder, _, names in os.walk(mount / "dates")
        for name in names
    }
    assert found == {
        "2016/03/race.mov", "2016/04/goal.mov", "2016/05/plain.mov",
        "2017/03/RACE.mov", "2017/03/con.mov",
    }  # fmt: skip


def test_by_id(mount: Mount) -> None:
    """The embed code and the extension."""
    assert sorted(os.listdir(mount / "by-id")) == sorted(f"{a.embed_code}.mov" for a in ASSETS)


@pytest.mark.parametrize(
    ("asset", "count"), [(RACE, 6), (GOAL, 4), (PLAIN, 4)], ids=["race", "goal", "plain"]
)
def test_one_asset_is_one_inode(mount: Mount, asset: EmulatedAsset, count: int) -> None:
    """The same file in each of its places, and as many links as places."""
    found = places(mount, asset)
    assert len(found) == count
    stats = {(s.st_ino, s.st_nlink, s.st_size, s.st_mtime) for s in (p.stat() for p in found)}
    assert len(stats) == 1
    assert next(iter(stats))[1] == count
    for path in found:
        assert_same_bytes(path, asset)


def test_links_of_folders(mount: Mount) -> None:
    """Two and one for each folder inside, as ``find`` expects."""
    for folder, subfolders, _ in os.walk(mount.path):
        assert os.stat(folder).st_nlink == 2 + len(subfolders), folder


def test_inodes_of_folders_are_their_own(mount: Mount) -> None:
    """No two entries of the whole tree share an inode, but the places of one asset."""
    folders = [os.stat(folder).st_ino for folder, _, _ in os.walk(mount.path)]
    files = {os.stat(mount / "by-id" / name).st_ino for name in os.listdir(mount / "by-id")}
    assert len({*folders, *files}) == len(folders) + len(ASSETS)


def test_one_layout_is_the_root_and_follows_its_labels(serve: Serve, mounted: MountIt) -> None:
    """``--layout labels``: what is relabelled, renamed or unlabelled moves with the next sync."""
    library = serve(*ASSETS)
    for label in LABELS:
        library.library.put_label(label)
    mount = mounted(library, "--layout", "labels")
    (inode,) = [  # not by stat, which the kernel would remember for some seconds
        entry.inode() for entry in os.scandir(mount / "Unlabeled") if entry.name == "plain.mov"
    ]
    library.library.edit(PLAIN.embed_code, label_ids=(EMPTY.label_id,))
    library.library.edit(GOAL.embed_code, label_ids=())
    ask_for_refresh(mount)
    moved = mount / "Nothing in it" / "plain.mov"
    wait_until(moved.exists, "the asset in its new folder")
    assert (moved.stat().st_ino, moved.stat().st_nlink) == (inode, 1)
    wait_until(
        lambda: sorted(os.listdir(mount / "Unlabeled")) == ["con.mov", "goal.mov"], "the others"
    )
    assert not (mount / "Unlabeled" / "plain.mov").exists()
    library.library.put_label(EmulatedLabel(EMPTY.label_id, "Something in it"))
    ask_for_refresh(mount, full=True)
    wait_until(lambda: "Something in it" in os.listdir(mount.path), "the new name")
    assert os.listdir(mount / "Something in it") == ["plain.mov"]


def test_names_that_two_hosts_agree_on(serve: Serve, mounted: MountIt) -> None:
    """``--names always-id``: the embed code in each, whatever was there first."""
    mount = mounted(serve(*ASSETS), "--names", "always-id")
    assert sorted(os.listdir(mount.path)) == sorted(
        f"{str(a.original_file_name).removesuffix('.mov')} [{a.embed_code}].mov" for a in ASSETS
    )
    assert_same_bytes(mount / f"race [{RACE.embed_code}].mov", RACE)


def test_names_for_windows(serve: Serve, mounted: MountIt) -> None:
    """``--names portable``: no device, no forbidden character, none alike but for case."""
    colon = video("a:b?.mov", tag="colon", created_at=MARCH_2016)
    mount = mounted(serve(*ASSETS, colon), "--names", "portable")
    names = os.listdir(mount.path)
    assert len({name.casefold() for name in names}) == len(ASSETS) + 1
    assert f"RACE [{RACE_TOO.embed_code}].mov" in names
    assert not any(set(name) & set('<>:"|?*\\') for name in names)
    assert "con.mov" not in names
    assert_same_bytes(mount / "race.mov", RACE)
    assert_same_bytes(mount / f"RACE [{RACE_TOO.embed_code}].mov", RACE_TOO)


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("--layout", "flatt", "flat, labels, dates, by-id"),
        ("--layout", "flat,,labels", "layout"),
        ("--layout", "", "layout"),
        ("--names", "short", "always-id"),
        ("--stat-timeout", "soon", "duration"),
        ("--read-timeout", "500ms", "the minimum is 1s"),
    ],
)
def test_what_there_is_not(tmp_path: Path, option: str, value: str, choices: str) -> None:
    """Exit code 2, and what could have been meant."""
    done = commands.run("mount", option, value, tmp_path, home=tmp_path)
    assert done.returncode == 2
    assert choices in done.stderr
    assert "Traceback" not in done.stderr


def test_a_library_in_the_default_cache_folder(serve: Serve, mounted: MountIt) -> None:
    """Without ``--cache-dir`` the catalog is in the user's cache folder."""
    mount = mounted(serve(*ASSETS))
    (found,) = (mount.folder / ".cache" / "backlotfs" / "catalog").glob("*.sqlite3")
    assert found.stat().st_mode & 0o777 == 0o600
