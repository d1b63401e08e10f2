# SPDX-License-Identifier: Apache-2.0
"""``backlotfs cache``: the caches of real mounts, listed and deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import detach

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 300_000)


def cache(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the group, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "backlotfs", "cache", *arguments, "--cache-dir", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "XDG_CONFIG_HOME": str(folder.parent)},
    )


def left(folder: Path, name: str = "") -> list[Path]:
    """The files of a library, but for the empty lock files that stay."""
    found = [path for path in folder.rglob(f"{name}*") if path.suffix != ".lock"]
    return [path for path in found if path.is_file() and path.name != "CACHEDIR.TAG"]


def test_a_library_is_listed_and_cleared(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """Not while it is mounted, nor unasked; the next mount works as the first did."""
    emulator, folder = serve(REEL), tmp_path / "cache"
    options = ("--cache-dir", str(folder))
    mount = mounted(emulator, *options)
    assert_same_bytes(mount.file_of(REEL), REEL)
    line = cache(folder, "list").stdout.splitlines()[0]
    assert line.endswith(emulator.api_url)
    name = line.split()[0]
    assert "is in use; unmount it first" in cache(folder, "clear", name, "--yes").stderr
    mount.close()
    assert "confirm it with --yes" in cache(folder, "clear", name).stderr
    assert "no library in the cache is named 'other'" in cache(folder, "clear", "other").stderr
    assert cache(folder, "clear", name, "--yes").returncode == 0
    assert cache(folder, "list").stdout == f"{folder}: empty\n"
    assert left(folder, name) == []
    assert_same_bytes(mounted(emulator, *options).file_of(REEL), REEL)


def test_a_library_is_named_by_its_profile(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """That of the profile file."""
    emulator, folder = serve(REEL), tmp_path / "cache"
    mounted(emulator, "--cache-dir", str(folder)).close()
    profile = tmp_path / "backlotfs" / "config.toml"
    profile.parent.mkdir(mode=0o700)
    profile.write_text(
        f'[profiles.studio]\napi_url = "{emulator.api_url}"\napi_key = "{emulator.api_key}"\n'
    )
    profile.chmod(0o600)
    assert "studio" in cache(folder, "list").stdout
    assert cache(folder, "clear", "studio", "--yes").returncode == 0
    assert cache(folder, "list").stdout == f"{folder}: empty\n"


def test_a_mount_without_a_disk_cache_uses_the_library_too(
    serve: Serve, mounted: MountIt, tmp_path: Path
) -> None:
    """Its catalog and its saved URLs stay."""
    emulator, folder = serve(REEL), tmp_path / "cache"
    mount = mounted(emulator, "--cache-dir", str(folder), "--keep-urls", "--cache-size", "0")
    assert_same_bytes(mount.file_of(REEL), REEL)
    before = {path: path.stat().st_ino for path in folder.rglob("*.sqlite3")}
    assert {path.parent.name for path in before} == {"catalog", "urls"}
    done = cache(folder, "clear", "--all", "--yes")
    assert done.returncode == 0
    assert "is in use and stays" in done.stdout
    assert {path: path.stat().st_ino for path in folder.rglob("*.sqlite3")} == before


def test_what_no_mount_uses_is_wholly_deleted(
    serve: Serve, mounted: MountIt, tmp_path: Path
) -> None:
    """Also of a mount that was killed, whose catalog still has its log; and without a list."""
    emulator, folder = serve(REEL), tmp_path / "cache"
    mount = mounted(emulator, "--cache-dir", str(folder), "--keep-urls")
    assert_same_bytes(mount.file_of(REEL), REEL)
    mount.kill()
    detach(mount.path)
    assert [path for path in left(folder) if path.name.endswith("-wal")]
    assert cache(folder, "clear", "--all", "--yes").returncode == 0
    assert left(folder) == []
    assert_same_bytes(mounted(emulator, "--cache-dir", str(folder)).file_of(REEL), REEL)
