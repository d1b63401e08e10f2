# SPDX-License-Identifier: Apache-2.0
"""A disk tier that cannot be used, or lies: right bytes, no error for a reader, one line of log.

One filled cache for all tests; each spoils a copy of it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import BlockKey
from backlotfs.concurrency.clock import SystemClock
from backlotfs.emulator import Emulator
from backlotfs.mount.read_path import BLOCK_BYTES
from backlotfs.source.version import SourceVersion
from tests.conftest import Serve
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import Mount
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 3 * MIB + 7)
CACHE_SIZE = "--cache-size=32M"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts, and gives files away")


class Filled(NamedTuple):
    """A library, and a cache folder that holds all of it."""

    emulator: Emulator
    cache: Path


@pytest.fixture(scope="module")
def filled(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """One mount has read everything."""
    emulator, folder = serve(REEL), tmp_path_factory.mktemp("filled")
    cache = folder / "cache"
    with Mount(emulator, folder, CACHE_SIZE, f"--cache-dir={cache}") as mount:
        assert_same_bytes(mount.file_of(REEL), REEL)
        wait_until(lambda: any(cache.glob("blocks/*/files/reel*")), "the file of the version")
    return Filled(emulator, cache)


class Spoilt:
    """A copy of the filled cache, and mounts of it."""

    def __init__(self, filled: Filled, folder: Path) -> None:
        self.emulator = filled.emulator
        self.cache = folder / "cache"
        shutil.copytree(filled.cache, self.cache)
        self.mount = Mount(self.emulator, folder, CACHE_SIZE, f"--cache-dir={self.cache}")

    @property
    def tier(self) -> Path:
        """The folder of its blocks."""
        (found,) = (self.cache / "blocks").iterdir()
        return found

    @property
    def file(self) -> Path:
        """The file of the whole version."""
        (found,) = (self.tier / "files").iterdir()
        return found

    def put_into_slab(self) -> None:
        """Move the version back into the slab, as it was before its file was made."""
        with closing(DiskTier(self.tier, 32 * MIB, SystemClock(), block_bytes=BLOCK_BYTES)) as tier:
            tier._jobs.close()
            assert REEL.content is not None
            version = SourceVersion(REEL.embed_code, REEL.content.size, REEL.content.etag, None)
            pin = Pin(REEL.embed_code, version.validator)
            data = self.file.read_bytes()
            tier.change_pins(remove={pin}, drop={pin})
            for number in range(-(-len(data) // BLOCK_BYTES)):
                block = data[number * BLOCK_BYTES :][:BLOCK_BYTES]
                assert tier.put(BlockKey(*pin, number), block, wait_s=10.0)

    def fetched(self) -> int:
        """GETs of the source, probes left out."""
        entries = ended_requests(self.emulator, route="source")
        return sum(entry.range_header != "bytes=0-0" for entry in entries)

    def said(self) -> list[str]:
        """What the log has of the tier."""
        return [line for line in self.mount.log_text().splitlines() if "disk cache" in line]


@pytest.fixture
def spoilt(filled: Filled, tmp_path: Path) -> Spoilt:
    """Not spoilt yet, and not mounted."""
    return Spoilt(filled, tmp_path)


def rewritten(path: Path, change: Callable[[bytearray], None]) -> None:
    """The file with other bytes, in its place."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def one_bit_of_each_block(tier: Path) -> None:
    """As a disk that forgets."""

    def change(data: bytearray) -> None:
        for at in range(100, len(data), 64 * 1024):
            data[at] ^= 1

    rewritten(tier / "slab", change)


def noise_for_an_index(tier: Path) -> None:
    """Rows that say anything, behind a head that is right."""

    def change(data: bytearray) -> None:
        data[4096:] = random.Random(7).randbytes(len(data) - 4096)

    rewritten(tier / "index", change)


def blocks_in_each_others_places(tier: Path) -> None:
    """Whole blocks of this very source, each where another belongs."""

    def change(data: bytearray) -> None:
        half = len(data) // 2 // 65536 * 65536
        data[:] = data[half:] + data[:half]

    rewritten(tier / "slab", change)


def test_a_sound_cache_is_read_without_a_request(spoilt: Spoilt) -> None:
    """What the others are compared with."""
    before = spoilt.fetched()
    with spoilt.mount as mount:
        assert_same_bytes(mount.file_of(REEL), REEL)
        assert spoilt.fetched() == before
        assert spoilt.said() == []


@pytest.mark.parametrize(
    ("spoil", "lines"),
    [
        (one_bit_of_each_block, 1),
        (blocks_in_each_others_places, 1),
        (noise_for_an_index, 0),  # of sources that nobody asks for: not this one's blocks at all
    ],
)
def test_a_corrupt_cache_is_fetched_anew(
    spoilt: Spoilt, spoil: Callable[[Path], None], lines: int
) -> None:
    """Nothing of it is believed, and it is said once."""
    spoilt.put_into_slab()
    spoil(spoilt.tier)
    before = spoilt.fetched()
    with spoilt.mount as mount:
        assert_same_bytes(mount.file_of(REEL), REEL)
        assert spoilt.fetched() > before
        said = spoilt.said()
        assert len(said) == lines
        assert all("discarded corrupt blocks" in line for line in said)


def test_a_slab_that_is_cut_under_a_mount_is_fetched_anew(spoilt: Spoilt) -> None:
    """Its end cannot be read any more, though it could when the mount began."""
    spoilt.put_into_slab()
    before = spoilt.fetched()
    with spoilt.mount as mount:
        os.truncate(spoilt.tier / "slab", 20 * 65536 + 100)
        assert_same_bytes(mount.file_of(REEL), REEL)
        assert spoilt.fetched() > before
        assert len(spoilt.said()) == 1


def one_bit(file: Path) -> None:
    """In the middle."""
    rewritten(file, lambda data: data.__setitem__(len(data) // 2, data[len(data) // 2] ^ 1))


@pytest.mark.parametrize("spoil", [one_bit, Path.unlink, lambda file: os.truncate(file, 1000)])
@pytest.mark.parametrize("when", ["before", "under"])
def test_a_complete_file_that_is_changed_is_fetched_anew(
    spoilt: Spoilt, spoil: Callable[[Path], None], when: str
) -> None:
    """Before the mount or under it: right bytes, and it is said once."""
    if when == "before":
        spoil(spoilt.file)
    before = spoilt.fetched()
    with spoilt.mount as mount:
        if when == "under":
            spoil(spoilt.file)
        assert_same_bytes(mount.file_of(REEL), REEL)
        assert spoilt.fetched() > before
        assert len(spoilt.said()) == 1
    for file in spoilt.tier.glob("files/reel*"):
        assert_same_bytes(file, REEL)


def given_away(tier: Path) -> None:
    """Another user's."""
    os.chown(tier, 65534, 65534)


def open_to_others(tier: Path) -> None:
    """Somebody might have put something into it."""
    tier.chmod(0o777)


def no_file(tier: Path) -> None:
    """A folder where the blocks should be: it cannot be opened."""
    (tier / "slab").unlink()
    (tier / "slab").mkdir()


@needs_root
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (given_away, "it belongs to another user"),
        (open_to_others, "it is open to other users"),
        (no_file, "Is a directory"),
    ],
)
def test_a_cache_that_may_not_be_read_is_gone_without(
    spoilt: Spoilt, spoil: Callable[[Path], None], says: str
) -> None:
    """Not touched, one warning with the reason; the bytes come from their host."""
    spoil(spoilt.tier)
    before = spoilt.fetched()
    spoilt.mount.expect_log("disk cache .* is not used: ")
    with spoilt.mount as mount:
        assert_same_bytes(mount.file_of(REEL), REEL)
        assert spoilt.fetched() > before
        (line,) = spoilt.said()
        assert says in line


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own there, with what was in the folder, and then with these options."""
    kept = folder.with_name("kept")
    folder.rename(kept)
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "none", folder], check=True)
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@needs_root
def test_a_read_only_disk_is_gone_without(spoilt: Spoilt) -> None:
    """Nothing could be kept on it: one warning, right bytes."""
    spoilt.mount.expect_log("disk cache .* Read-only file system")
    with small_disk(spoilt.cache / "blocks", "ro"), spoilt.mount as mount:
        assert_same_bytes(mount.file_of(REEL), REEL)
        assert len(spoilt.said()) == 1


@needs_root
def test_a_full_disk_is_lived_with(spoilt: Spoilt) -> None:
    """Nothing of the old is left and nothing new fits: one warning, right bytes, twice."""
    spoilt.mount.expect_log("disk cache .* No space left on device")
    shutil.rmtree(spoilt.tier)
    with small_disk(spoilt.cache / "blocks", "size=1m"), spoilt.mount as mount:
        for _ in range(2):
            with mount.file_of(REEL).open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert_same_bytes(mount.file_of(REEL), REEL)
    assert len(spoilt.said()) == 1
