# SPDX-License-Identifier: Apache-2.0
"""Mounts on several machines, that is with a cache folder each, start from one listing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedLabel
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import (
    KeptLibrary,
    api_calls,
    shown,
    status,
    uploaded,
)
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video

pytestmark = pytest.mark.mounted

SPORTS = EmulatedLabel("a" * 32, "Sports")
ASSETS = [
    *(video(f"clip-{n}.mov", 1000 + n, created_at=1_400_000_000 + 1000 * n) for n in range(12)),
    video("goal.mov", 50, created_at=1_400_000_000, label_ids=(SPORTS.label_id,)),
]
MACHINES = 2
#: A running mount shows an import this much later at most, and a little for a busy machine.
NEWS_S = 40.0


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library."""
    found = keep(*ASSETS)
    found.emulator.library.put_label(SPORTS)
    return found


class Farm:
    """The commands of its machines; the first one's cache folder is that of the library."""

    def __init__(self, kept: KeptLibrary, folder: Path) -> None:
        self.kept = kept
        self.folder = folder
        self.snapshot = folder / "snapshot"
        self._config = commands.write_config(folder / "farm.toml", kept.emulator)

    def catalog(self, verb: str, cache: Path) -> str:
        """Run ``backlotfs catalog``; what it says."""
        options = ("--config", self._config, "--cache-dir", cache)
        done = commands.run("catalog", verb, self.snapshot, *options, home=self.folder)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def machine(self, number: int) -> Path:
        """The cache folder of a machine."""
        return self.folder / f"machine-{number}"


@pytest.fixture
def farm(kept: KeptLibrary, tmp_path: Path) -> Farm:
    """Its machines."""
    return Farm(kept, tmp_path)


def test_mounts_start_from_one_listing(kept: KeptLibrary, farm: Farm) -> None:
    """Names, inodes, sizes and labels are those of the first machine; no call is made for them."""
    first = kept.mount("--layout", "labels,flat")
    kept.wait_until_saved(first)
    said = farm.catalog("export", kept.cache)
    assert said.startswith(f"exported {len(ASSETS)} assets, {len(ASSETS)} with a size, listed ")
    wanted = {name: shown(first)[name][0] for name in os.listdir(first.path)}
    wanted_files = {path.name: path.stat() for path in (first / "flat").iterdir()}
    kept.emulator.requests.clear()
    for number in range(MACHINES):
        farm.catalog("import", farm.machine(number))
        options = ("--layout", "labels,flat", "--metadata-ttl", "1h")
        mount = kept.mount("--cache-dir", str(farm.machine(number)), *options)
        assert {name: shown(mount)[name][0] for name in os.listdir(mount.path)} == wanted
        files = {path.name: path.stat() for path in (mount / "flat").iterdir()}
        for name, found in files.items():
            before = wanted_files[name]
            assert (found.st_ino, found.st_size) == (before.st_ino, before.st_size)
            assert found.st_mtime == before.st_mtime
        assert files.keys() == wanted_files.keys()
        assert os.listdir(mount / "labels" / "Sports") == ["goal.mov"]
        wait_until(lambda at=mount: not status(at)["syncing"], "the kernel to be told")  # type: ignore[misc]  # bound now
    assert api_calls(kept.emulator) == []
    assert_same_bytes(mount / "flat" / "goal.mov", ASSETS[-1])
    assert len(api_calls(kept.emulator)) == 1, "the URL"


def test_an_old_snapshot_is_refreshed(kept: KeptLibrary, farm: Farm) -> None:
    """A mount that starts after the TTL asks for what has changed since."""
    kept.fill()
    farm.catalog("export", kept.cache)
    new = kept.emulator.library.add(uploaded("new.mov", 321))
    farm.catalog("import", farm.machine(0))
    kept.emulator.requests.clear()
    mount = kept.mount("--cache-dir", str(farm.machine(0)), "--metadata-ttl", "0s")
    wait_until(mount.file_of(new).exists, "the upload")
    assert api_calls(kept.emulator).count("assets") == 1, "no listing of all"


def test_running_mounts_show_an_import(kept: KeptLibrary, farm: Farm) -> None:
    """The first machine's news is the farm's, without a call of the farm's mounts."""
    first = kept.mount()
    kept.wait_until_saved(first)
    farm.catalog("export", kept.cache)
    farm.catalog("import", farm.machine(0))
    mount = kept.mount("--cache-dir", str(farm.machine(0)), "--metadata-ttl", "1h")
    kept.emulator.library.delete(ASSETS[0].embed_code)
    new = kept.emulator.library.add(uploaded("new.mov", 321))
    kept.refresh(first)
    kept.wait_until_saved(first)
    farm.catalog("export", kept.cache)
    kept.emulator.requests.clear()
    farm.catalog("import", farm.machine(0))
    wait_until(mount.file_of(new).exists, "the upload", timeout_s=NEWS_S)
    wait_until(lambda: not mount.file_of(ASSETS[0]).exists(), "the deletion", timeout_s=NEWS_S)
    assert mount.file_of(new).stat().st_size == 321
    assert api_calls(kept.emulator) == []
    assert_same_bytes(mount.file_of(new), new)


@pytest.mark.long
def test_an_older_snapshot_than_the_mounts_listing(kept: KeptLibrary, farm: Farm) -> None:
    """It is not taken: the mount has listed the library since."""
    kept.fill()
    farm.catalog("export", kept.cache)
    kept.emulator.library.delete(ASSETS[0].embed_code)
    mount = kept.mount()
    wait_until(lambda: not mount.file_of(ASSETS[0]).exists(), "the deletion")
    assert farm.catalog("import", kept.cache).startswith("the listing here is newer, of ")
    assert not mount.file_of(ASSETS[0]).exists()
