# SPDX-License-Identifier: Apache-2.0
"""Whatever is the matter with the catalog's file: the mount works, and the old file is kept."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from backlotfs.emulator import Emulator
from tests.conftest import Serve
from tests.mounted.catalog.kept_library import shown, status, wait_until_sized
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.long_runs import few_of
from tests.support.made_assets import video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

ASSETS = [video(f"clip-{n}.mov", 1000 + n) for n in range(200)]
#: The one line that says what happened.
COMPLAINT = r"WARNING .*catalog"


@pytest.fixture(scope="module")
def emulator(serve: Serve) -> Emulator:
    """The library."""
    return serve(*ASSETS)


@pytest.fixture(scope="module")
def saved(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of a mount that knew every size."""
    folder = tmp_path_factory.mktemp("saved")
    cache = folder / "cache"
    with Mount(emulator, folder, "--cache-dir", str(cache)) as mount:
        wait_until_sized(mount)
    return cache


@pytest.fixture
def catalog(saved: Path, tmp_path: Path) -> Path:
    """A copy of the catalog's file, to be spoilt."""
    shutil.copytree(saved, tmp_path / "cache")
    (found,) = (tmp_path / "cache" / "catalog").glob("*.sqlite3")
    return found


def sql(*statements: str) -> Callable[[Path], None]:
    """Spoils it by valid means."""

    def run(path: Path) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()

    return run


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(100_000))


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def zeros_inside(path: Path) -> None:
    """Every page but the first: found only when they are read."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(size - 4096))


def another_program(path: Path) -> None:
    path.unlink()
    sql("CREATE TABLE bookmarks (url TEXT)", "PRAGMA application_id = 7")(path)


CASES: dict[str, Callable[[Path], None]] = {
    "garbage": garbage,
    "cut short": cut_short,
    "zeros inside": zeros_inside,
    "another program's": another_program,
    "another library's": sql("UPDATE library SET account = 'somebody else'"),
    "a later version's": sql("PRAGMA user_version = 99"),
}


@pytest.mark.parametrize("case", few_of(CASES, "zeros inside", "another library's"))
def test_a_file_that_cannot_be_used(
    emulator: Emulator, saved: Path, catalog: Path, tmp_path: Path, case: str
) -> None:
    """Set aside, one line in the log, and the whole library is there."""
    CASES[case](catalog)
    spoilt = catalog.read_bytes()
    mount = Mount(emulator, tmp_path, "--cache-dir", str(tmp_path / "cache"))
    mount.expect_log(COMPLAINT)
    with mount:
        assert len(shown(mount)) == len(ASSETS)
        assert_same_bytes(mount / "clip-7.mov", ASSETS[7])
    aside = list(catalog.parent.glob("*.set-aside-1"))
    assert [path.read_bytes() == spoilt for path in aside] == [True]
    assert aside[0].stat().st_mode & 0o777 == 0o600
    assert mount.log_text().count("WARNING") == 1


@pytest.mark.long
def test_damage_under_a_running_mount(emulator: Emulator, catalog: Path, tmp_path: Path) -> None:
    """The disk loses the file's pages: what is shown stays, and the next sync repairs it."""
    mount = Mount(emulator, tmp_path, "--cache-dir", str(tmp_path / "cache"))
    mount.expect_log(COMPLAINT + r"|could not be refreshed|not saved yet")
    with mount:
        before = shown(mount)
        wait_until(lambda: status(mount)["synced_at"] > 0, "the look at the API")
        zeros_inside(catalog)
        mount.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "set aside" in mount.log_text(), "the damage to be found")
        assert shown(mount) == before
        wait_until(lambda: "the library was listed" in mount.log_text(), "the repair")
        assert shown(mount) == before
        assert_same_bytes(mount / "clip-7.mov", ASSETS[7])
        wait_until_sized(mount)
    with Mount(emulator, tmp_path, "--cache-dir", str(tmp_path / "cache")) as again:
        assert shown(again) == before


def nothing_can_be_made(cache: Path) -> None:
    cache.mkdir()
    (cache / "catalog").write_text("in the way")


def nothing_may_be_made(cache: Path) -> None:
    cache.mkdir()
    (cache / "catalog").symlink_to("/proc")


@pytest.mark.parametrize("case", [nothing_can_be_made, nothing_may_be_made])
def test_a_cache_folder_that_cannot_be_written(
    emulator: Emulator, tmp_path: Path, case: Callable[[Path], None]
) -> None:
    """Memory stands in: one line in the log, and everything works."""
    case(tmp_path / "cache")
    mount = Mount(emulator, tmp_path, "--cache-dir", str(tmp_path / "cache"))
    mount.expect_log(COMPLAINT)
    with mount:
        assert len(shown(mount)) == len(ASSETS)
        assert_same_bytes(mount / "clip-7.mov", ASSETS[7])
    assert mount.log_text().count("WARNING") == 1
