# SPDX-License-Identifier: Apache-2.0
"""Complete versions in files of their own: who gets one, what is believed of it, when it goes."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from backlotfs.cache.disk import complete_files
from backlotfs.cache.disk.complete_files import file_name
from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.slab_files import SlabFiles
from backlotfs.cache.disk.tier import DiskTier, kept_budget
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S, in_threads, join_all
from tests.unit.cache.disk_blocks import (
    BLOCK,
    block_of,
    budget_for,
    bytes_of,
    disk_bytes,
    files_in,
    keep,
    keep_whole,
    key,
    pin,
    read,
    tier_at,
    unpin,
)


def content(tier: DiskTier, version: Pin) -> bytes | None:
    """What `open_complete` gives."""
    file = tier.open_complete(*version)
    if file is None:
        return None
    with open(file, "rb") as opened:
        return opened.read()


def blocks(tier: DiskTier, version: Pin) -> bytes | None:
    """What `get_many` gives, all blocks at once."""
    keys = [key(number, *version) for number in range(-(-version.size // BLOCK))]
    buffers = [memoryview(bytearray(BLOCK)) for _ in keys]
    lengths = tier.get_many(keys, buffers)
    if None in lengths:
        return None
    return b"".join(bytes(buffer[:length]) for buffer, length in zip(buffers, lengths, strict=True))


def test_a_complete_version_becomes_a_file(tmp_path: Path) -> None:
    """Of exactly its length; every figure stays; a part of a version has none."""
    with tier_at(tmp_path / "t") as tier:
        tier.name_of = {"E1": "clip.mov"}.__getitem__
        version = keep_whole(tier, 3)
        keep(tier, key(0, "E2", f'"v1"/{2 * BLOCK}'))
        (file,) = files_in(tmp_path / "t")
        assert file.name == f"clip [E1 {version.word >> 32:08x}].mov"
        assert file.read_bytes() == content(tier, version) == blocks(tier, version)
        assert file.read_bytes() == bytes_of(version)
        assert tier.block_count(*version) == 3
        assert tier.missing(key(number, *version) for number in range(5)) == [
            key(3, *version), key(4, *version),
        ]  # fmt: skip
        assert tier.cached_bytes == 4 * BLOCK
        assert tier.open_complete("E2", f'"v1"/{2 * BLOCK}') is None
        assert tier._table.used_slots == 1
        assert not tier.put(key(1, *version), block_of(key(1, *version)))
        assert read(tier, key(2, *version)) == block_of(key(2, *version), 10)


def test_a_read_that_began_before_the_file_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds the slots of the version freed when it reads them, and the bytes in the file."""
    with tier_at(tmp_path / "t") as tier:
        version = Pin("E1", f'"v1"/{3 * BLOCK}')
        for number in range(2):
            keep(tier, key(number, *version))
        read_slots = SlabFiles.read

        def late(files: SlabFiles, slot: int, into: Sequence[memoryview]) -> int:
            monkeypatch.setattr(SlabFiles, "read", read_slots)
            keep(tier, key(2, *version))
            assert tier.drain_files()
            return read_slots(files, slot, into)

        monkeypatch.setattr(SlabFiles, "read", late)
        assert read(tier, key(1, *version)) == block_of(key(1, *version))
        assert tier.counts.damaged == 0


def test_a_restart(tmp_path: Path) -> None:
    """After a clean one the file is given at once; nothing was read to open the cache."""
    with tier_at(tmp_path / "t") as tier:
        version = keep_whole(tier, 3)
    with tier_at(tmp_path / "t") as tier:
        assert tier.block_count(*version) == 3
        assert content(tier, version) == bytes_of(version)


def unclean(tier: DiskTier) -> None:
    """End a tier as a kill would: nothing is saved any more, the lock is free."""
    tier._jobs.close()
    tier._queue.close()
    tier._folder.close()
    tier._closed = True


@pytest.mark.parametrize("why", ["unclean", "rebooted", "touched", "copied"])
def test_a_file_without_a_proof_is_verified_first(
    tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not given before; meanwhile its blocks are read one by one."""
    with tier_at(tmp_path / "t") as tier:
        version = keep_whole(tier, 3)
        if why == "unclean":
            unclean(tier)
    (file,) = files_in(tmp_path / "t")
    if why == "rebooted":
        monkeypatch.setattr(complete_files, "_boot_hash", lambda: 7)
    elif why == "touched":
        os.utime(file)
    elif why == "copied":
        shutil.copy2(file, tmp_path / "copy")
        (tmp_path / "copy").rename(file)
    with tier_at(tmp_path / "t") as tier:
        assert blocks(tier, version) == bytes_of(version)
        assert tier.open_complete(*version) is None
        assert tier.drain_files()
        assert content(tier, version) == bytes_of(version)
        assert tier.counts.damaged == 0


def _edit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[BLOCK + 5] ^= 1
    with file.open("r+b") as opened:  # as an editor that keeps size and time
        opened.write(data)


def _replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _replace_by_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def _replace_by_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "edited": _edit,
    "truncated": lambda file: os.truncate(file, 100),
    "extended": lambda file: os.truncate(file, 10 * BLOCK),
    "removed": Path.unlink,
    "emptied": lambda file: file.write_bytes(b""),
    "a link": _replace_by_link,
    "a folder": _replace_by_folder,
    "a fifo": _replace_by_fifo,
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("noticed_by", ["open", "read"])
def test_a_file_that_another_program_changed(tmp_path: Path, how: str, noticed_by: str) -> None:
    """Is never believed; it is removed and counted, and the version is cached again."""
    with tier_at(tmp_path / "t") as tier:
        lost: list[str] = []
        tier.on_loss = lambda: lost.append("loss")
        version = keep_whole(tier, 3)
        pin(tier, *version)
        (file,) = files_in(tmp_path / "t")
        before = os.stat(file)
        DAMAGES[how](file)
        if how == "edited":
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        if noticed_by == "open":
            assert tier.open_complete(*version) is None
            assert tier.drain_files()
            assert tier.open_complete(*version) is None
        elif how == "extended":
            assert blocks(tier, version) == bytes_of(version)
            tier.check_complete(*version)
        else:
            assert blocks(tier, version) is None
        assert tier.counts.damaged == 1
        assert lost == ["loss"]
        assert tier.block_count(*version) == tier.cached_bytes == 0
        assert how == "a folder" or files_in(tmp_path / "t") == []
        if how == "a folder":
            file.rmdir()
        keep_whole(tier, 3)
        assert content(tier, version) == bytes_of(version)


@pytest.mark.parametrize("how", ["removed", "truncated", "extended"])
def test_warm_and_pin_notice_a_file_that_is_gone(tmp_path: Path, how: str) -> None:
    """Before they say that it is there."""
    with tier_at(tmp_path / "t") as tier:
        version = keep_whole(tier, 3)
        tier.check_complete(*version)
        assert tier.block_count(*version) == 3
        DAMAGES[how](files_in(tmp_path / "t")[0])
        tier.check_complete(*version)
        assert tier.block_count(*version) == 0


@pytest.mark.parametrize("name", ["complete", "checksums"])
def test_flipped_bits_in_what_is_known_of_a_file(tmp_path: Path, name: str) -> None:
    """Cost the file, never a wrong byte."""
    with tier_at(tmp_path / "t") as tier:
        version = keep_whole(tier, 3)
    path = tmp_path / "t" / name
    if path.is_dir():
        (path,) = path.iterdir()
    whole = path.read_bytes()
    for at in range(4096 if name == "complete" else 0, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        shutil.copytree(tmp_path / "t", tmp_path / "copy")
        with tier_at(tmp_path / "copy") as tier:
            assert content(tier, version) is None
            assert blocks(tier, version) in (None, bytes_of(version))
        shutil.rmtree(tmp_path / "copy")


def test_a_mapping_outlives_eviction(tmp_path: Path) -> None:
    """The file is unlinked, never written, cut or punched: what was opened stays right."""
    with tier_at(tmp_path / "t", 16) as tier:
        version = keep_whole(tier, 3)
        file = tier.open_complete(*version)
        assert file is not None
        mapping = mmap.mmap(file, 0, prot=mmap.PROT_READ)
        kept = os.dup(file)
        os.close(file)
        for number in range(60):
            keep(tier, key(number, "other"))
        assert tier.block_count(*version) == 0
        assert files_in(tmp_path / "t") == []
        assert mapping[:] == os.pread(kept, 10**6, 0) == bytes_of(version)
        keep_whole(tier, 3)
        assert mapping[:] == os.pread(kept, 10**6, 0) == content(tier, version)
        os.close(kept)
        mapping.close()


def test_the_least_recently_used_of_both_goes(tmp_path: Path) -> None:
    """Files by their last open or read, blocks by their last read; pinned ones stay."""
    with tier_at(tmp_path / "t", 32) as tier:
        first, second = keep_whole(tier, 3, "E1"), keep_whole(tier, 3, "E2")
        third = keep_whole(tier, 3, "E3")
        pin(tier, *third)
        keep(tier, key(0, "single"))
        file = tier.open_complete(*first)
        assert file is not None
        os.close(file)
        number = 0
        while tier.block_count(*second):
            keep(tier, key(number, "other"))
            number += 1
        assert key(0, "single") in tier
        assert tier.block_count(*first) == 3
        while tier.block_count(*first):
            keep(tier, key(number, "other"))
            number += 1
        assert key(0, "single") not in tier
        for more in range(number, number + 60):
            keep(tier, key(more, "other"))
        assert content(tier, third) == bytes_of(third)
        unpin(tier, *third)
        for more in range(number + 60, number + 120):
            keep(tier, key(more, "other"))
        assert tier.block_count(*third) == 0
        assert tier.counts.evicted >= 9


def test_one_budget_for_both(tmp_path: Path) -> None:
    """By the file system's own count, at every moment."""
    with tier_at(tmp_path / "t", 64) as tier:
        for round_ in range(40):
            keep_whole(tier, 1 + round_ % 9, f"E{round_}", 10 + 100 * round_)
            assert disk_bytes(tmp_path / "t") <= budget_for(64)
            keep(tier, *(key(number, f"part{round_}") for number in range(round_ % 5)))
            assert disk_bytes(tmp_path / "t") <= budget_for(64)
        assert len(files_in(tmp_path / "t")) > 3
        assert tier.cached_bytes > 40 * BLOCK


def test_a_version_that_is_too_large_stays_in_the_slab(tmp_path: Path) -> None:
    """It would be there twice for a moment; nothing is evicted in vain."""
    with tier_at(tmp_path / "t", 20) as tier:
        keep(tier, key(0, "other"))
        version = keep_whole(tier, 14)
        assert files_in(tmp_path / "t") == []
        assert blocks(tier, version) == bytes_of(version)
        assert key(0, "other") in tier
        assert tier.open_complete(*version) is None


def test_a_smaller_budget_at_the_next_start(tmp_path: Path) -> None:
    """Holds at once; pinned files go last."""
    with tier_at(tmp_path / "t", 64) as tier:
        versions = [keep_whole(tier, 4, f"E{number}") for number in range(8)]
        pin(tier, *versions[0])
        keep(tier, *(key(number, "part") for number in range(8)))
    with tier_at(tmp_path / "t", 12) as tier:
        assert disk_bytes(tmp_path / "t") <= budget_for(12)
        assert content(tier, versions[0]) == bytes_of(versions[0])
        assert tier.block_count(*versions[1]) == 0
    with tier_at(tmp_path / "t", 1) as tier:
        assert disk_bytes(tmp_path / "t") <= budget_for(1)
        assert tier.block_count(*versions[0]) == 0


def test_the_default_budget_keeps_pinned_files(tmp_path: Path) -> None:
    """Though less is free than when they were pinned."""
    with tier_at(tmp_path / "t", 64) as tier:
        version = keep_whole(tier, 20)
        pin(tier, *version)
    budget = kept_budget(tmp_path / "t", BLOCK)
    tier = DiskTier(tmp_path / "t", budget, ManualClock(), block_bytes=BLOCK)
    assert content(tier, version) == bytes_of(version)
    tier.close()


def test_a_dropped_version_loses_its_file(tmp_path: Path) -> None:
    """As a replaced source does."""
    with tier_at(tmp_path / "t") as tier:
        version = keep_whole(tier, 3)
        pin(tier, *version)
        tier.change_pins(remove={version}, drop={version})
        assert files_in(tmp_path / "t") == []
        assert tier.cached_bytes == 0


@pytest.mark.parametrize("call", ["fdatasync", "utime", "rename"])
def test_a_version_that_is_dropped_while_its_file_is_made(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loses the file too, at whichever step it is; the next one of this version gets a file."""
    with tier_at(tmp_path / "t") as tier:
        version = Pin("E1", f'"v1"/{2 * BLOCK + 10}')
        pin(tier, *version)
        original = getattr(os, call)

        def drop_first(*arguments: object, **named: object) -> object:
            dropping.undo()
            tier.change_pins(remove={version}, drop={version})
            return original(*arguments, **named)

        with monkeypatch.context() as dropping:
            dropping.setattr(os, call, drop_first)
            keep_whole(tier, 3)
        assert tier.cached_bytes == 0
        assert files_in(tmp_path / "t") == []
        assert keep_whole(tier, 3) == version
        assert content(tier, version) == bytes_of(version)


def test_a_version_that_is_pinned_again_while_its_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source was replaced, and then the old one came back: its file is right, and stays."""
    with tier_at(tmp_path / "t") as tier:
        version = Pin("E1", f'"v1"/{2 * BLOCK + 10}')
        pin(tier, *version)
        original = os.fdatasync

        def drop_first(file: int) -> None:
            replacing.undo()
            tier.change_pins(remove={version}, drop={version})
            tier.change_pins(add={version})
            original(file)

        with monkeypatch.context() as replacing:
            replacing.setattr(os, "fdatasync", drop_first)
            keep_whole(tier, 3)
        assert content(tier, version) == bytes_of(version)
        assert tier.cached_bytes == 3 * BLOCK


def test_a_disk_that_refuses_to_close_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is on it already: the file counts, once."""
    with tier_at(tmp_path / "t") as tier:
        original, closed = os.close, 0

        def refuse(file: int) -> None:
            nonlocal closed
            original(file)
            if threading.current_thread().name == "cached-files":
                closed += 1
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        with monkeypatch.context() as failing:
            failing.setattr(os, "close", refuse)
            version = keep_whole(tier, 3)
        assert closed
        assert tier.cached_bytes == 3 * BLOCK
        assert content(tier, version) == bytes_of(version)


def test_a_version_that_was_complete_before_the_start(tmp_path: Path) -> None:
    """Gets its file when it is opened."""
    with tier_at(tmp_path / "t") as tier:
        tier._jobs.close()  # the mount was killed before
        version = Pin("E1", f'"v1"/{2 * BLOCK}')
        for number in range(2):
            tier.put(key(number, *version), block_of(key(number, *version)))
    assert files_in(tmp_path / "t") == []
    with tier_at(tmp_path / "t") as tier:
        assert tier.open_complete(*version) is None
        assert tier.drain_files()
        assert content(tier, version) == bytes_of(version)


def test_a_damaged_block_is_not_put_into_a_file(tmp_path: Path) -> None:
    """The version stays incomplete until the block comes again."""
    with tier_at(tmp_path / "t") as tier:
        version = Pin("E1", f'"v1"/{2 * BLOCK}')
        keep(tier, key(0, *version))
        with (tmp_path / "t" / "slab").open("r+b") as slab:
            slab.write(b"damage")
        keep(tier, key(1, *version))
        assert files_in(tmp_path / "t") == []
        assert tier.counts.damaged == 1
        keep(tier, key(0, *version))
        assert content(tier, version) == bytes_of(version)


def test_what_a_killed_mount_left_is_removed(tmp_path: Path) -> None:
    """A half-made file, a file that the index does not have; not a stranger's file."""
    with tier_at(tmp_path / "t") as tier:
        version = keep_whole(tier, 3)
    folder = tmp_path / "t" / "files"
    (folder / ".being-made").write_bytes(b"half")
    (folder / "old [E9 01234567].mov").write_bytes(b"old")
    (folder / "notes.txt").write_bytes(b"a person's")
    (tmp_path / "t" / "checksums" / ("0" * 16)).write_bytes(b"old")
    with tier_at(tmp_path / "t") as tier:
        other = keep_whole(tier, 2, "E2")
        assert content(tier, version) == bytes_of(version)
        assert content(tier, other) == bytes_of(other)
    assert len(files_in(tmp_path / "t")) == 3
    assert (folder / "notes.txt") in files_in(tmp_path / "t")
    assert len(list((tmp_path / "t" / "checksums").iterdir())) == 2


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "rename"])
def test_a_disk_without_room_for_a_file(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The version stays in the slab; it is tried again later, when it is opened."""
    clock = ManualClock()
    with tier_at(tmp_path / "t", clock=clock) as tier:
        version = Pin("E1", f'"v1"/{2 * BLOCK}')
        keep(tier, key(0, *version), key(0, "other"))

        def full(*_: object, **__: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as failing:
            with monkeypatch.context() as later:
                later.setattr(tier, "_is_convertible", lambda _pin: False)
                keep(tier, key(1, *version))
            failing.setattr(os, call, full)
            assert tier.open_complete(*version) is None
            assert tier.drain_files()
        assert files_in(tmp_path / "t") == []
        assert "No space left" in caplog.text
        assert blocks(tier, version) == bytes_of(version)
        assert tier.cached_bytes == 3 * BLOCK
        assert tier.open_complete(*version) is None
        assert tier.drain_files()
        assert files_in(tmp_path / "t") == []
        clock.advance(61)
        assert tier.open_complete(*version) is None
        assert tier.drain_files()
        assert content(tier, version) == bytes_of(version)


def test_names(tmp_path: Path) -> None:
    """Readable, of this folder, for any disk; no two versions have one name."""
    word = 0x1F2E3D4C << 32
    assert file_name("clip.mov", "Y1d2", word) == "clip [Y1d2 1f2e3d4c].mov"
    assert file_name("Y1d2", "Y1d2", word) == "Y1d2 [Y1d2 1f2e3d4c]"
    assert file_name("../a:b\n.m?v", "a/b]", word) == ".._a_b_ [a_b) 1f2e3d4c].m_v"
    assert file_name("a [2].tar.gz", "E", word) == "a (2).tar [E 1f2e3d4c].gz"
    for name in ("ä" * 300 + ".mov", "x." + "y" * 300, "\udcff.mov", "", ".", "..", " . "):
        made = file_name(name, "E" * 300, word)
        assert len(made.encode()) <= 255
        assert complete_files._OURS.search(made)
        (tmp_path / made).touch()


@pytest.mark.parametrize("name", ["a [b].mov", "\udcff", "x" * 400])
def test_a_strange_name(tmp_path: Path, name: str) -> None:
    """Comes back after a restart as well."""
    with tier_at(tmp_path / "t") as tier:
        tier.name_of = lambda _code: name
        version = keep_whole(tier, 2, 'E"\udcff')
    with tier_at(tmp_path / "t") as tier:
        assert content(tier, version) == bytes_of(version)


def test_without_hole_punching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on exFAT: the slab keeps its disk space, and the limit holds all the same."""
    monkeypatch.setattr("backlotfs.cache.disk.slab_files.punch_hole", lambda *_: False)
    with tier_at(tmp_path / "t", 32) as tier:
        for number in range(12):
            version = keep_whole(tier, 4, f"E{number}")
            assert content(tier, version) == bytes_of(version)
            assert disk_bytes(tmp_path / "t") <= budget_for(32)
        keep(tier, *(key(number, "other") for number in range(60)))
        assert disk_bytes(tmp_path / "t") <= budget_for(32)


def test_times_that_cannot_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing proves that a file is unchanged: it is read block by block, and not given."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    with tier_at(tmp_path / "t") as tier:
        version = keep_whole(tier, 3)
        assert len(files_in(tmp_path / "t")) == 1
        assert tier.open_complete(*version) is None
        assert tier.drain_files()
        assert tier.open_complete(*version) is None
        assert blocks(tier, version) == bytes_of(version)


def test_a_closed_tier_gives_no_file(tmp_path: Path) -> None:
    """And does not fail."""
    with tier_at(tmp_path / "t") as tier:
        version = keep_whole(tier, 3)
        tier.close()
        assert tier.open_complete(*version) is None
        tier.check_complete(*version)


def test_a_file_is_not_made_while_the_one_of_that_name_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late removal would take the new file."""
    removing, go_on, unlink = threading.Event(), threading.Event(), os.unlink

    def slow(path: str | bytes, *, dir_fd: int) -> None:
        if os.fsencode(path).startswith(b"E1 ["):
            removing.set()
            assert go_on.wait(PATIENCE_S)
        unlink(path, dir_fd=dir_fd)

    with tier_at(tmp_path / "t") as tier:
        version = keep_whole(tier, 3)
        monkeypatch.setattr(os, "unlink", slow)
        drop = partial(tier.change_pins, remove={version}, drop={version})
        (thread,) = in_threads(1, lambda _: drop())
        assert removing.wait(PATIENCE_S)
        keep_whole(tier, 3)
        assert blocks(tier, version) == bytes_of(version)
        go_on.set()
        join_all([thread])
        assert tier.open_complete(*version) is None
        assert tier.drain_files()
        assert content(tier, version) == bytes_of(version)
        assert tier.counts.damaged == 0
