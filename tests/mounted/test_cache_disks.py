# SPDX-License-Identifier: Apache-2.0
"""The disk cache of a mount on other file systems, and taken away beneath it."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backlotfs.kernel import passthrough
from tests.conftest import MountIt, Serve
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes, origin_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import held_open
from tests.support.odd_disk import mounted_disk, needs_root
from tests.support.passed_through import in_use, make_complete, state
from tests.support.request_log import ended_requests

pytestmark = [pytest.mark.mounted, needs_root]

REEL, OTHER = video("reel.mov", 3 * MIB + 77), video("other.mov", MIB)


def test_a_containers_own_disk(serve: Serve, mounted: MountIt, tmp_path: Path) -> None:
    """Overlayfs: the kernel refuses passthrough. Cached files are read through the mount."""
    layers = {name: tmp_path / name for name in ("lower", "upper", "work")}
    for layer in layers.values():
        layer.mkdir(mode=0o700)
    options = ",".join(f"{name}dir={layer}" for name, layer in layers.items())
    emulator, cache = serve(REEL), tmp_path / "merged" / "cache"
    with mounted_disk(tmp_path / "merged", "overlay", options):
        mount = mounted(emulator, "--cache-size", "64M", "--cache-dir", str(cache))
        warmed = commands.run("warm", mount.file_of(REEL), home=mount.folder)
        assert warmed.returncode == 0, warmed.stderr
        wait_until(lambda: any(cache.glob("blocks/*/files/reel*")), "its file")
        before = len(ended_requests(emulator, route="source"))
        assert_same_bytes(mount.file_of(REEL), REEL)
        assert len(ended_requests(emulator, route="source")) == before
        assert not in_use(mount, REEL)
        if state(mount)["off"] not in (passthrough.OLD_KERNEL, passthrough.NOT_ALLOWED):
            assert state(mount)["off"] == passthrough.STACKED
            doctor = commands.run("doctor", "--cache-dir", cache, home=mount.folder).stdout
            assert passthrough.STACKED in doctor
        mount.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, an ext4 in a file."""
    image, place = tmp_path / "image", tmp_path / "disk"
    image.touch()
    os.truncate(image, 64 * MIB)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is missing: apt-get install e2fsprogs")
    subprocess.run(["mkfs.ext4", "-q", image], check=True, timeout=90)
    place.mkdir()
    command = ["mount", "-o", "loop", str(image), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    place.chmod(0o700)
    yield place
    subprocess.run(["umount", "-l", place], capture_output=True, timeout=90, check=False)


def unmount(disk: Path) -> None:
    """Lazily: what is open stays usable."""
    subprocess.run(["umount", "-l", disk], check=True, timeout=90)


def remove(disk: Path) -> None:
    """Everything, as a cleaner does."""
    shutil.rmtree(disk / "cache" / "blocks")


@pytest.mark.parametrize("take_away", [unmount, pytest.param(remove, marks=pytest.mark.long)])
def test_a_disk_that_is_taken_away(
    serve: Serve, mounted: MountIt, disk: Path, take_away: Callable[[Path], None]
) -> None:
    """Open files and mappings keep their bytes, also those that the kernel reads itself.

    Other files are right too, and the cache goes on in a new folder.
    """
    cache = disk / "cache"
    mount = mounted(serve(REEL, OTHER), "--cache-size", "32M", "--cache-dir", str(cache))
    mount.expect_log("was removed while it was in use|corrupt blocks")
    make_complete(mount, REEL)
    with (
        held_open(mount.file_of(REEL)) as opened,
        mmap.mmap(opened, 0, prot=mmap.PROT_READ) as mapped,
    ):
        assert in_use(mount, REEL)
        take_away(disk)
        assert mapped[:] == os.pread(opened, 4 * MIB, 0) == origin_bytes(REEL)
        assert_same_bytes(mount.file_of(OTHER), OTHER)
    wait_until(lambda: state(mount)["files"] == 0, "the release")
    assert_same_bytes(mount.file_of(REEL), REEL)
    make_complete(mount, REEL)
    assert any(cache.glob("blocks/*/files/reel*"))
    assert_same_bytes(mount.file_of(REEL), REEL)
    mount.close()
