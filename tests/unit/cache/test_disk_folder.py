# SPDX-License-Identifier: Apache-2.0
"""The disk tier's folder: whose it is, who may use it, and files of another time."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.slab_files import FORMAT_VERSION, capacity_of
from backlotfs.cache.disk.slot_table import ROW_BYTES
from backlotfs.cache.disk.tier import DiskTier, kept_budget
from backlotfs.errors import CacheUnusable
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S
from tests.unit.cache.disk_blocks import (
    BLOCK,
    block_of,
    budget_for,
    capacity,
    disk_bytes,
    keep,
    keep_whole,
    key,
    pin,
    read,
    tier_at,
)


def test_nobody_else_can_look_into_it(tmp_path: Path) -> None:
    """0700 and 0600, whatever the umask."""
    before = os.umask(0)
    try:
        with tier_at(tmp_path / "a" / "t") as tier:
            pin(tier, "E1", "v")
            keep(tier, key(0))
            keep_whole(tier, 2)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "t").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a/t").iterdir()}
    folders = {name: modes.pop(name) for name in ("files", "checksums")}
    assert folders == dict.fromkeys(folders, 0o700)
    names = ("CACHEDIR.TAG", "complete", "heads", "index", "lock", "pins", "slab")
    assert modes == dict.fromkeys(names, 0o600)
    for name in folders:
        (file,) = (tmp_path / "a/t" / name).iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("open_one", ["", "index"])
def test_what_is_open_to_others_is_refused(tmp_path: Path, open_one: str) -> None:
    """The folder, or a file in it."""
    with tier_at(tmp_path / "t"):
        pass
    (tmp_path / "t" / open_one).chmod(0o755)
    with pytest.raises(CacheUnusable, match="open to other users"), tier_at(tmp_path / "t"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """What others can write is not to be trusted with names and sizes."""
    (tmp_path / "t").mkdir(0o700)
    os.chown(tmp_path / "t", 12345, 12345)
    with pytest.raises(CacheUnusable, match="another user"), tier_at(tmp_path / "t"):
        pass


def test_a_link_is_refused(tmp_path: Path) -> None:
    """In the place of the folder, or of a file."""
    (tmp_path / "t").mkdir(0o700)
    (tmp_path / "link").symlink_to("t")
    with pytest.raises(CacheUnusable), tier_at(tmp_path / "link"):
        pass
    (tmp_path / "t" / "slab").symlink_to("/dev/null")
    with pytest.raises(CacheUnusable), tier_at(tmp_path / "t"):
        pass


@pytest.mark.parametrize("name", ["lock", "slab", "index", "heads", "complete"])
def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    """With a sentence, not with an error of the system."""
    (tmp_path / "t" / name).mkdir(0o700, parents=True)
    (tmp_path / "t").chmod(0o700)
    with pytest.raises(CacheUnusable, match=r"is a directory|Is a directory"):
        tier_at(tmp_path / "t").__enter__()


def _remove(name: str, folder: Path) -> None:
    """Remove the folder in one of the ways in which people and programs do."""
    if name == "folder":
        shutil.rmtree(folder)
    elif name == "parents":
        shutil.rmtree(folder.parent)
    elif name == "moved":
        folder.rename(folder.with_name("old"))
    elif name == "replaced":
        shutil.rmtree(folder)
        folder.mkdir(0o700)
    elif name == "emptied":
        for file in folder.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    elif (folder / name).is_dir():
        shutil.rmtree(folder / name)
    else:
        (folder / name).unlink()


@pytest.mark.parametrize(
    "what",
    [
        *("folder", "parents", "moved", "replaced", "emptied"),
        *("slab", "index", "heads", "lock", "complete", "files", "checksums"),
    ],
)
@pytest.mark.parametrize("noticed_by", ["write", "warm", "pin"])
def test_a_removed_folder_is_made_again(
    tmp_path: Path, what: str, noticed_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What is written from then on, and every pin, is there after a restart; it is told once."""
    folder = tmp_path / "cache" / "t"
    told: list[str] = []
    with tier_at(folder) as tier:
        tier.on_loss = lambda: told.append("remade")
        pin(tier, "E1", "pinned")
        keep(tier, key(0))
        _remove(what, folder)
        if noticed_by == "warm":
            tier.remake_if_removed()
        elif noticed_by == "pin":
            pin(tier, "E2", "pinned")
        keep(tier, key(1), key(2))
        assert told == ["remade"]
        assert "was removed while it was in use" in caplog.text
        assert read(tier, key(1)) == block_of(key(1))
        assert read(tier, key(0)) in (None, block_of(key(0)))
        with pytest.raises(CacheUnusable, match="another mount"):
            tier_at(folder).__enter__()
    with tier_at(folder) as tier:
        assert read(tier, key(2)) == block_of(key(2))
        assert ("E1", "pinned") in tier.pins()
        assert (("E2", "pinned") in tier.pins()) is (noticed_by == "pin")


def test_a_folder_that_is_made_again_during_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files that the write uses stay open: its bytes reach no file that is opened next."""
    folder, next_file = tmp_path / "t", tmp_path / "next"
    writing, go_on = threading.Event(), threading.Event()
    pwrite = os.pwrite

    def slow(file: int, data: bytes, at: int) -> int:
        if at == BLOCK and not writing.is_set():
            writing.set()
            assert go_on.wait(PATIENCE_S)
        return pwrite(file, data, at)

    with tier_at(folder) as tier:
        keep(tier, key(0))
        monkeypatch.setattr(os, "pwrite", slow)
        assert tier.put(key(1), block_of(key(1)))
        assert writing.wait(PATIENCE_S)
        shutil.rmtree(folder)
        tier.remake_if_removed()
        next_file.write_bytes(bytes(4 * BLOCK))
        opened = [os.open(next_file, os.O_RDWR) for _ in range(8)]
        go_on.set()
        assert tier.drain()
        for file in opened:
            os.close(file)
        assert next_file.read_bytes() == bytes(4 * BLOCK)
        keep(tier, key(2))
        assert read(tier, key(2)) == block_of(key(2))


def test_a_system_without_a_thread_for_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block is not cached; a later one gets a thread, and the cache closes."""

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with tier_at(tmp_path / "t") as tier:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            assert not tier.put(key(0), block_of(key(0)))
        assert tier.drain()
        keep(tier, key(0))
    with tier_at(tmp_path / "t2") as tier, monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        assert not tier.put(key(0), block_of(key(0)))


@pytest.mark.parametrize("why", ["a file is there", "another mount has it"])
def test_a_folder_that_cannot_be_made_again(
    tmp_path: Path, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is promised and nothing is written, and the reason is told."""
    folder = tmp_path / "t"
    with tier_at(folder) as tier, ExitStack() as other:
        keep(tier, key(0))
        shutil.rmtree(folder)
        if why == "a file is there":
            folder.write_text("")
        else:
            other.enter_context(tier_at(folder))
        with pytest.raises(CacheUnusable, match="is not used"):
            tier.remake_if_removed()
        assert not tier.change_pins(add={Pin("E1", "v")})
        keep(tier, key(1))
        assert not tier.accepted(key(1))
        assert "is not used" in caplog.text
        assert read(tier, key(0)) == block_of(key(0))


def test_a_removed_folder_gives_its_disk_space_back(tmp_path: Path) -> None:
    """Its files are closed as soon as nobody reads them."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, key(0))
        before = tier.counts
        shutil.rmtree(tmp_path / "t")
        tier.remake_if_removed()
        opened = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
        assert not [path for path in opened if str(tmp_path) in path and "(deleted)" in path]
        assert tier.counts == before


def test_one_mount_at_a_time(tmp_path: Path) -> None:
    """The second is told; after the first ended it is let in."""
    with tier_at(tmp_path / "t"), pytest.raises(CacheUnusable, match="another mount"):
        tier_at(tmp_path / "t").__enter__()
    with tier_at(tmp_path / "t"):
        pass


def test_a_budget_without_room_is_refused(tmp_path: Path) -> None:
    """At once, and the folder is free again."""
    with pytest.raises(CacheUnusable, match="no room"):
        DiskTier(tmp_path / "t", 10_000, ManualClock())
    with tier_at(tmp_path / "t"):
        pass


@pytest.mark.parametrize("budget", [10**6, 10**7, 10**9, 10 * 2**30, 10**12])
@pytest.mark.parametrize("block_bytes", [4096, 65536, 131072])
def test_the_slots_make_use_of_the_budget(budget: int, block_bytes: int) -> None:
    """All the files fit, and little is left over."""
    slots = capacity_of(budget, block_bytes)
    heads = 4 << (slots - 1).bit_length()
    files = slots * (block_bytes + ROW_BYTES) + heads + 4096
    assert files <= budget
    if slots < 2**24:
        assert files >= budget * 0.99 - 72 * 1024 - block_bytes - heads / 2


def test_the_disk_holds_no_more_than_the_budget(tmp_path: Path) -> None:
    """By the file system's own count, at every moment of being filled twice over."""
    budget = budget_for(64)
    with tier_at(tmp_path / "t", 64) as tier:
        for number in range(150):
            keep(tier, key(number))
            assert disk_bytes(tmp_path / "t") + 4096 <= budget
        assert tier.cached_bytes >= 64 * BLOCK


def test_a_smaller_budget_holds_at_once(tmp_path: Path) -> None:
    """What is left is right; a larger one keeps everything."""
    with tier_at(tmp_path / "t", 64) as tier:
        keep(tier, *(key(number) for number in range(64)))
    with tier_at(tmp_path / "t", 20) as tier:
        assert disk_bytes(tmp_path / "t") <= budget_for(20)
        left = [number for number in range(64) if read(tier, key(number)) == block_of(key(number))]
        assert 20 <= len(left) < 64
        assert tier.counts.damaged == 0
        assert tier.cached_bytes == len(left) * BLOCK
    with tier_at(tmp_path / "t", 128) as tier:
        keep(tier, *(key(number, "E2") for number in range(40)))
        assert [number for number in range(64) if read(tier, key(number))] == left
        assert tier.missing(key(number, "E2") for number in range(40)) == []


@pytest.mark.parametrize(
    ("at", "value"), [(8, FORMAT_VERSION + 1), (0, 99), (12, 1), (16, 200)], ids=str
)
def test_another_format_is_begun_anew(tmp_path: Path, at: int, value: int) -> None:
    """A later version, a foreign file, other blocks, a damaged header."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, key(0))
    with (tmp_path / "t" / "index").open("r+b") as index:
        index.seek(at)
        index.write(bytes([value]))
    with tier_at(tmp_path / "t") as tier:
        assert read(tier, key(0)) is None
        assert tier.cached_bytes == 0
        keep(tier, key(1))
    with tier_at(tmp_path / "t") as tier:
        assert read(tier, key(1)) == block_of(key(1))


@pytest.mark.parametrize("name", ["slab", "index", "heads", "pins"])
@pytest.mark.parametrize("size", [0, 5, 4100, 10_000])
def test_a_file_cut_short_costs_blocks_only(tmp_path: Path, name: str, size: int) -> None:
    """Never a wrong byte, and the tier goes on working."""
    with tier_at(tmp_path / "t") as tier:
        pin(tier, "E9", "v")
        keep(tier, *(key(number) for number in range(8)))
    os.truncate(tmp_path / "t" / name, size)
    with tier_at(tmp_path / "t") as tier:
        for number in range(8):
            assert read(tier, key(number)) in (None, block_of(key(number)))
        keep(tier, *(key(number) for number in range(8)))
        assert tier.missing(key(number) for number in range(8)) == []


def test_chains_are_made_anew_from_the_rows(tmp_path: Path) -> None:
    """Without the file of their heads every block is found."""
    with tier_at(tmp_path / "t") as tier:
        keep(tier, *(key(number) for number in range(30)))
    (tmp_path / "t" / "heads").unlink()
    with tier_at(tmp_path / "t") as tier:
        assert tier.missing(key(number) for number in range(30)) == []


@pytest.mark.long
def test_half_a_million_blocks_are_open_in_no_time(tmp_path: Path) -> None:
    """And one more block can be kept: choosing what goes is no matter of seconds either."""
    blocks, block_bytes = 500_000, 16
    budget = int(blocks * (block_bytes + ROW_BYTES + 9) * 1.01) + 100_000
    slots = capacity_of(budget, block_bytes)
    assert slots > blocks
    with closing(DiskTier(tmp_path / "t", budget, ManualClock(), block_bytes=block_bytes)) as tier:
        for number in range(4):
            tier.put(key(number), b"x" * block_bytes)
        tier.drain()
        _repeat_rows(tier, slots)
    began = time.monotonic()
    with closing(DiskTier(tmp_path / "t", budget, ManualClock(), block_bytes=block_bytes)) as tier:
        assert tier.cached_bytes == slots * block_bytes
        tier.put(key(5), b"y" * block_bytes)
        tier.drain()
        assert key(5) in tier
    assert time.monotonic() - began < 20.0


def _repeat_rows(tier: DiskTier, slots: int) -> None:
    """Fill the table as so many puts would, which take a minute."""
    table = tier._table
    source = table._words[0]
    while (slot := table.allocate()) is not None and table.used_slots < slots - 1:
        table.fill(slot, source, slot, table.row(0)._replace(length=16))
    table.fill(slot or 0, source, slot or 0, table.row(0))
    os.truncate(tier._folder.path / "slab", slots * 16)


def test_capacity_is_what_the_helper_says(tmp_path: Path) -> None:
    """`budget_for` and `capacity` of the other tests agree."""
    with tier_at(tmp_path / "t", 16) as tier:
        assert 16 <= capacity(tier, tmp_path / "t") <= 16 + 4


def test_the_budget_that_loses_nothing(tmp_path: Path) -> None:
    """Where something is pinned, as many slots as there are; else any budget will do."""
    assert kept_budget(tmp_path / "t", BLOCK) == 0
    with tier_at(tmp_path / "t", 40) as tier:
        keep(tier, *(key(number) for number in range(40)))
        tier.close()
        assert kept_budget(tmp_path / "t", BLOCK) == 0
    with tier_at(tmp_path / "t", 40) as tier:
        pin(tier)
    budget = kept_budget(tmp_path / "t", BLOCK)
    assert 0 < budget < budget_for(60)
    with closing(DiskTier(tmp_path / "t", budget, ManualClock(), block_bytes=BLOCK)) as tier:
        assert tier.missing(key(number) for number in range(40)) == []
