# SPDX-License-Identifier: Apache-2.0
"""Complete files on disks of other kinds: full, overlayfs, without modes and fine times, gone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier
from tests.fakes.clocks import ManualClock
from tests.support.odd_disk import mounted_disk, needs_root, odd_disk
from tests.unit.cache.disk_blocks import (
    BLOCK,
    block_of,
    bytes_of,
    files_in,
    keep,
    keep_whole,
    key,
    read,
    tier_at,
)


def opened(tier: DiskTier, version: Pin) -> bytes | None:
    """What a complete file has, once it is proven; None if it never is."""
    file = tier.open_complete(*version)
    if file is None:
        assert tier.drain_files()
        file = tier.open_complete(*version)
    if file is None:
        return None
    with open(file, "rb") as found:
        return found.read()


def check_use(folder: Path) -> None:
    """Made, given, given again after a restart, noticed when it was edited."""
    with tier_at(folder) as tier:
        version = keep_whole(tier, 3)
        assert opened(tier, version) == bytes_of(version)
    with tier_at(folder) as tier:
        assert opened(tier, version) == bytes_of(version)
        (file,) = files_in(folder)
        with file.open("r+b") as edited:
            edited.write(b"edited")
        assert opened(tier, version) is None
        assert tier.counts.damaged == 1
        keep_whole(tier, 3)
        assert opened(tier, version) == bytes_of(version)


@needs_root
def test_overlayfs(tmp_path: Path) -> None:
    """A container's own disk; also with a cache that is in a lower layer, as in an image."""
    with mounted_disk(tmp_path / "disk", "tmpfs", "size=16m"):
        layers = {name: tmp_path / "disk" / name for name in ("lower", "upper", "work")}
        for layer in layers.values():
            layer.mkdir(mode=0o700)
        with tier_at(layers["lower"] / "old") as tier:
            version = keep_whole(tier, 3)
        options = ",".join(f"{name}dir={layer}" for name, layer in layers.items())
        with mounted_disk(tmp_path / "merged", "overlay", options):
            check_use(tmp_path / "merged" / "new")
            with tier_at(tmp_path / "merged" / "old") as tier:
                assert opened(tier, version) == bytes_of(version)
                assert read(tier, key(0, *version)) == block_of(key(0, *version))


@pytest.mark.mounted
@pytest.mark.parametrize("times", [{"step": 2 * 10**9}, {"step": 2 * 10**9, "refuses": 1}])
def test_a_disk_with_coarse_times(tmp_path: Path, times: dict[str, int]) -> None:
    """As exFAT: no holes, times of 2 s. One that refuses times gets no file for the kernel."""
    place = tmp_path / "place"
    for folder in (tmp_path / "root", place):
        folder.mkdir(mode=0o700)
    with odd_disk(place, tmp_path / "root", times):
        if "refuses" not in times:
            check_use(place / "t")
            return
        with tier_at(place / "t") as tier:
            version = keep_whole(tier, 3)
            assert opened(tier, version) is None
            assert read(tier, key(1, *version)) == block_of(key(1, *version))


@pytest.mark.mounted
def test_a_server_that_does_not_know_the_disk_any_more(
    tmp_path: Path, expected_warnings: list[str]
) -> None:
    """As NFS: every call fails. No error for a reader; complete files are used again later."""
    expected_warnings.append("Stale file handle")
    place, gone = tmp_path / "place", tmp_path / "root.gone"
    for folder in (tmp_path / "root", place):
        folder.mkdir(mode=0o700)
    clock, part = ManualClock(), key(0, "part", '"v1"/9')
    with odd_disk(place, tmp_path / "root", {"direct": 1}):
        with tier_at(place / "t", clock=clock) as tier:
            keep(tier, part)
            version = keep_whole(tier, 3)
            gone.touch()
            for _ in range(2):
                assert read(tier, part) is None
                assert read(tier, key(1, *version)) is None
                assert tier.open_complete(*version) is None
            tier.check_complete(*version)
            keep(tier, key(0, "new"))
            assert read(tier, key(0, "new")) is None
            assert not tier.change_pins(add={version})
            gone.unlink()
            clock.advance(61)
            keep(tier, key(0, "new"))
            assert read(tier, key(0, "new")) == block_of(key(0, "new"))
            assert read(tier, part) in (None, block_of(part))
            assert opened(tier, version) == bytes_of(version)
            gone.touch()
        gone.unlink()
        with tier_at(place / "t", clock=clock) as tier:
            assert opened(tier, version) == bytes_of(version)


@needs_root
def test_a_full_disk(tmp_path: Path, expected_warnings: list[str]) -> None:
    """No room for a second copy: the version stays in the slab, and gets its file later."""
    expected_warnings.append("No space left on device")
    clock = ManualClock()
    with mounted_disk(tmp_path / "disk", "tmpfs", "size=1m"):
        folder, ballast = tmp_path / "disk" / "t", tmp_path / "disk" / "ballast"
        with tier_at(folder, 1000, clock=clock) as tier:
            keep(tier, key(0, "other"))
            free = shutil.disk_usage(tmp_path / "disk").free
            ballast.write_bytes(bytes(free - 60 * BLOCK))
            version = keep_whole(tier, 40)
            assert files_in(folder) == []
            for number in range(39):
                assert read(tier, key(number, *version)) == block_of(key(number, *version))
            ballast.unlink()
            clock.advance(61)
            assert opened(tier, version) == bytes_of(version)


@needs_root
def test_a_disk_that_is_unmounted(tmp_path: Path, expected_warnings: list[str]) -> None:
    """What is open stays right; the cache goes on at its path, empty, with its pins."""
    expected_warnings.append("was removed while it was in use")
    folder = tmp_path / "disk" / "t"
    with mounted_disk(tmp_path / "disk", "tmpfs", "size=1m,mode=700"), tier_at(folder) as tier:
        version = keep_whole(tier, 3)
        tier.change_pins(add={version})
        file = tier.open_complete(*version)
        assert file is not None
        subprocess.run(["umount", "-l", tmp_path / "disk"], check=True, timeout=90)
        assert os.pread(file, 10**6, 0) == bytes_of(version)
        os.close(file)
        assert opened(tier, version) in (None, bytes_of(version))
        tier.remake_if_removed()
        assert tier.block_count(*version) == 0
        assert tier.pins() == [version]
        keep_whole(tier, 3)
        assert opened(tier, version) == bytes_of(version)
