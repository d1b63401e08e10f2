# SPDX-License-Identifier: Apache-2.0
"""A source that is replaced while somebody has it open: old bytes or ESTALE, never a mixture."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import subprocess
from pathlib import Path

import pytest

from backlotfs.emulator import EmulatedAsset, Fault
from tests.conftest import MountIt, Serve
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import (
    assert_equal_bytes,
    assert_same_bytes,
    current,
    len_of,
    origin_bytes,
)
from tests.support.long_runs import few_of
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount, held_open

pytestmark = pytest.mark.mounted

SIZE = 12 * MIB + 5
REEL = video("reel.mov", SIZE)
STEP = 256 * KIB
NEW_SIZES = pytest.mark.parametrize(
    "new_size",
    few_of([SIZE + 3 * MIB, SIZE - 7 * MIB, SIZE], SIZE),
    ids=["larger", "smaller", "same size"],
)


@pytest.fixture
def mount(serve: Serve, mounted: MountIt) -> Mount:
    """A mount that keeps little in memory, so that an old handle has to ask the origin."""
    return mounted(serve(REEL), "--memory", "4M")


def read_to_estale(descriptor: int, offset: int) -> bool:
    """Read on from ``offset``: each read gives old bytes, or ESTALE; whether ESTALE came."""
    while offset < SIZE:
        try:
            part = os.pread(descriptor, STEP, offset)
        except OSError as error:
            assert error.errno == errno.ESTALE  # noqa: PT017  # success is allowed too
            return True
        assert part, "an old handle ends where its version ends"
        assert_equal_bytes(part, origin_bytes(REEL, offset, len(part)), offset)
        offset += len(part)
    return False


@pytest.mark.both_bindings
@NEW_SIZES
def test_an_old_handle_never_sees_new_bytes(mount: Mount, new_size: int) -> None:
    """The origin is found to differ while reading: ESTALE, also at close; a new open is whole."""
    mount.expect_log(r"ESTALE")
    path = mount.file_of(REEL)
    descriptor = os.open(path, os.O_RDONLY)
    assert_equal_bytes(os.pread(descriptor, 4096, 0), origin_bytes(REEL, 0, 4096), 0)
    mount.emulator.library.replace(REEL.embed_code, size=new_size)
    assert read_to_estale(descriptor, MIB)
    with pytest.raises(OSError, match="Stale file handle"):
        os.close(descriptor)
    assert_same_bytes(path, current(mount.emulator, REEL))


@pytest.mark.both_bindings
@NEW_SIZES
def test_old_and_new_handles_live_side_by_side(mount: Mount, new_size: int) -> None:
    """A refresh finds it: the new open sees the new bytes while the old handle is still open."""
    mount.expect_log(r"ESTALE")
    path = mount.file_of(REEL)
    with held_open(path) as old:
        assert os.pread(old, 4096, 0) == origin_bytes(REEL, 0, 4096)
        refresh_after_replacing(mount, new_size)
        new = current(mount.emulator, REEL)
        for _ in range(2):
            assert_same_bytes(path, new)
            read_to_estale(old, 0)
        wait_until(lambda: path.stat().st_size == new_size, "the new size to be shown")
        read_to_estale(old, 0)
        assert_same_bytes(path, new)
    assert_same_bytes(path, new)


@pytest.mark.parametrize("old_size", [64 * KIB, 64 * KIB - 1], ids=["pages", "part of a page"])
def test_the_end_of_an_old_handle_does_not_cut_the_new_size(
    serve: Serve, mounted: MountIt, old_size: int
) -> None:
    """Each version has its own end: the old handle reads to its own, new ones to the new one."""
    clip = video("clip.mov", old_size)
    mount = mounted(serve(clip, REEL))
    path = mount.file_of(clip)
    with held_open(path) as old:
        assert os.pread(old, 4096, 0) == origin_bytes(clip, 0, 4096)
        refresh_after_replacing(mount, MIB, clip)
        wait_until(lambda: path.stat().st_size == MIB, "the kernel to know the new size")
        for offset in (old_size, old_size - 100, 0):
            assert os.pread(old, 4096, offset) == origin_bytes(clip, offset, 4096)
            assert os.fstat(old).st_size == old_size
            assert path.stat().st_size == MIB
            assert_same_bytes(path, current(mount.emulator, clip))


@NEW_SIZES
def test_the_page_cache_holds_no_page_of_the_old_version(mount: Mount, new_size: int) -> None:
    """Read in full, replaced, read in full: every byte and the size are the new ones."""
    path = mount.file_of(REEL)
    assert_same_bytes(path, REEL)
    before = path.stat()
    refresh_after_replacing(mount, new_size)
    assert_same_bytes(path, current(mount.emulator, REEL))
    wait_until(lambda: path.stat().st_mtime > before.st_mtime, "the new time to be shown")
    assert path.stat().st_size == new_size
    assert path.stat().st_ino == before.st_ino
    assert_same_bytes(path, current(mount.emulator, REEL))


@NEW_SIZES
def test_two_versions_mapped_side_by_side(mount: Mount, new_size: int) -> None:
    """A mapping of the old version, its handle, a new handle and a new mapping: each its own.

    Pages are read before a mapping shows them: a fault in this process would stop its emulator.
    """
    mount.expect_log(r"ESTALE")  # of what the kernel reads ahead
    path = mount.file_of(REEL)
    offsets = (0, MIB, 2 * MIB - 4096)
    with held_open(path) as old, mmap.mmap(old, 0, prot=mmap.PROT_READ) as old_map:
        assert_equal_bytes(os.pread(old, 2 * MIB, 0), origin_bytes(REEL, 0, 2 * MIB), 0)
        refresh_after_replacing(mount, new_size)
        wait_until(lambda: path.stat().st_mtime > os.fstat(old).st_mtime, "the new version")
        new = current(mount.emulator, REEL)
        with held_open(path) as fresh, mmap.mmap(fresh, 0, prot=mmap.PROT_READ) as new_map:
            assert len(new_map) == new_size
            assert os.fstat(old).st_ino == os.fstat(fresh).st_ino
            for offset in offsets:
                expected = origin_bytes(new, offset, 4096)
                assert os.pread(fresh, 4096, offset) == expected
                assert new_map[offset : offset + 4096] == expected
                assert old_map[offset : offset + 4096] == origin_bytes(REEL, offset, 4096)
            assert os.pread(old, 4096, MIB) == origin_bytes(REEL, MIB, 4096)
            assert os.fstat(old).st_size == len(old_map) == SIZE


@pytest.mark.both_bindings
def test_cp_of_a_shrunk_source_fails(mount: Mount, tmp_path: Path) -> None:
    """cp under way when its source is replaced by a smaller one: it does not exit 0."""
    mount.expect_log(r"ESTALE")
    emulator = mount.emulator
    path = mount.file_of(REEL)
    path.stat()
    stall = emulator.faults.add(
        Fault.stall(), route="source", offsets=(6 * MIB, SIZE), embed_code=REEL.embed_code
    )
    copying = subprocess.Popen(
        ["cp", path, tmp_path / "copy.mov"], stderr=subprocess.PIPE, text=True
    )
    emulator.requests.wait_for(lambda _log: stall.hits > 0)
    emulator.library.replace(REEL.embed_code, size=MIB)
    stall.release()
    _, complaint = copying.communicate(timeout=90)
    assert copying.returncode != 0
    assert "Stale file handle" in complaint


def test_a_smaller_size_cuts_no_copy_of_the_old_version_short(mount: Mount) -> None:
    """What was read is right; what nobody has any more is ESTALE, and then close is, too."""
    mount.expect_log(r"ESTALE")
    path = mount.file_of(REEL)
    descriptor = os.open(path, os.O_RDONLY)
    assert_equal_bytes(os.pread(descriptor, MIB, MIB), origin_bytes(REEL, MIB, MIB), MIB)
    refresh_after_replacing(mount, MIB)
    wait_until(lambda: path.stat().st_size == MIB, "the kernel to know the new size")
    assert os.fstat(descriptor).st_size == SIZE
    assert read_to_estale(descriptor, 2 * MIB)
    with pytest.raises(OSError, match="Stale file handle"):
        os.close(descriptor)


def refresh_after_replacing(mount: Mount, new_size: int, asset: EmulatedAsset = REEL) -> None:
    """Replace the source, and have the mount learn of it from the listing."""
    library = mount.emulator.library
    library.replace(asset.embed_code, size=new_size)
    sign = video("sign that the listing is new.mov")
    library.add(sign)
    mount.process.send_signal(signal.SIGHUP)
    wait_until(lambda: mount.file_of(sign).name in os.listdir(mount.path), "the new listing")
    assert len_of(current(mount.emulator, asset)) == new_size
