# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, read-only or at a limit: the tier keeps less, and says so once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backlotfs.cache.disk.tier import DiskTier
from backlotfs.errors import CacheUnusable
from tests.fakes.clocks import ManualClock
from tests.project.source_tree import ROOT
from tests.unit.cache.disk_blocks import BLOCK, block_of, budget_for, keep, key, read

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small file system")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mountpoint = tmp_path / "disk"
    mountpoint.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mountpoint], check=True)
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", "-l", mountpoint], check=True)


def tier_in(folder: Path, clock: ManualClock) -> closing[DiskTier]:
    """A tier whose budget is far beyond the small disk."""
    return closing(DiskTier(folder, budget_for(2000), clock, block_bytes=BLOCK))


@needs_root
def test_a_full_disk_is_lived_with(small_disk: Path, expected_warnings: list[str]) -> None:
    """New blocks take the places of old ones; one warning; more is kept once there is room."""
    expected_warnings.append("No space left on device")
    clock = ManualClock()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(512 * 1024))
    with tier_in(small_disk / "t", clock) as tier:
        keep(tier, *(key(number) for number in range(300)))
        kept = tier.cached_bytes
        assert 40 * BLOCK < kept < 128 * BLOCK
        assert read(tier, key(299)) == block_of(key(299))
        assert read(tier, key(0)) is None
        ballast.unlink()
        keep(tier, key(300))
        assert tier.cached_bytes <= kept
        clock.advance(61)
        keep(tier, *(key(number) for number in range(301, 400)))
        assert tier.cached_bytes > kept
    with tier_in(small_disk / "t", clock) as tier:
        assert read(tier, key(399)) == block_of(key(399))


@needs_root
def test_one_warning_says_that_the_disk_is_full(
    small_disk: Path, expected_warnings: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is met."""
    expected_warnings.append("No space left on device")
    clock = ManualClock()
    with tier_in(small_disk / "t", clock) as tier:
        for number in range(400):
            keep(tier, key(number))
            clock.advance(7)
    assert len(caplog.records) == 1
    assert str(small_disk / "t") in caplog.text


@needs_root
def test_a_disk_that_is_full_from_the_start(small_disk: Path, expected_warnings: list[str]) -> None:
    """Nothing is kept, or the tier says that it cannot be; nothing else happens."""
    expected_warnings.append("No space left on device")
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        for _ in range(2):
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError:
                break
    try:
        with tier_in(small_disk / "t", ManualClock()) as tier:
            keep(tier, key(0), key(1))
            assert read(tier, key(0)) in (None, block_of(key(0)))
    except CacheUnusable as error:
        assert "No space left" in str(error)  # noqa: PT017 - either is right


@needs_root
def test_a_read_only_disk_is_refused(small_disk: Path) -> None:
    """With a sentence that says so, whether or not there is a cache on it."""
    with tier_in(small_disk / "t", ManualClock()):
        pass
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for name in ("t", "new"):
        with pytest.raises(CacheUnusable, match="Read-only file system"):
            DiskTier(small_disk / name, budget_for(20), ManualClock(), block_bytes=BLOCK)


def test_a_limit_on_file_sizes_is_lived_with(tmp_path: Path) -> None:
    """``ulimit -f``: Python ignores the signal, the write fails."""
    script = (
        "import resource, sys, logging\n"
        "from pathlib import Path\n"
        "from tests.faults.test_disk_full import *\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "with tier_in(Path(sys.argv[1]), ManualClock()) as tier:\n"
        "    keep(tier, *(key(number) for number in range(100)))\n"
        "    assert read(tier, key(99)) == block_of(key(99))\n"
        "    assert 40 < tier.cached_bytes // BLOCK < 50\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "t"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("File too large") == 1
