# SPDX-License-Identifier: Apache-2.0
"""What a running mount shows of uploads, deletions, replacements and edits after a sync."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from backlotfs.emulator import Fault
from tests.mounted.catalog.conftest import Keep
from tests.mounted.catalog.kept_library import (
    KeptLibrary,
    api_calls,
    ask_for_refresh,
    shown,
    status,
    uploaded,
    url_calls,
    wait_until_sized,
)
from tests.support import commands
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes, current, origin_bytes
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount, held_open
from tests.support.request_log import ended_requests

pytestmark = pytest.mark.mounted

#: The newest is much newer than the others, so that an incremental sync does not bring them all.
ASSETS = [
    *(video(f"clip-{n}.mov", 5000 + n, created_at=1_400_000_000 + 1000 * n) for n in range(8)),
    video("large.mov", 3 * MIB, created_at=1_500_000_000),
]
FIRST = ASSETS[0]
LARGE = ASSETS[-1]


@pytest.fixture
def kept(keep: Keep) -> KeptLibrary:
    """The library."""
    return keep(*ASSETS)


@pytest.fixture
def mount(kept: KeptLibrary) -> Mount:
    """A mount of it, all sizes known; the calls until then are forgotten."""
    running = kept.mount()
    wait_until_sized(running)
    kept.emulator.requests.clear()
    return running


def test_an_upload_is_there_as_soon_as_it_is_listed(kept: KeptLibrary, mount: Mount) -> None:
    """The moment ``readdir`` shows it, ``stat`` works, though it was asked for in vain before."""
    for turn in range(25):
        new = uploaded(f"new-{turn}.mov", 100 + turn)
        path = mount.file_of(new)
        assert not path.exists()
        kept.emulator.library.add(new)
        assert not path.exists()
        ask_for_refresh(mount)
        until = time.monotonic() + 5
        while path.name not in os.listdir(mount.path):  # no pause: the first moment is what counts
            assert time.monotonic() < until
        assert path.stat().st_size == 100 + turn
    assert url_calls(kept.emulator, new) == 1


def test_an_upload_costs_one_call(kept: KeptLibrary, mount: Mount) -> None:
    """The sync itself is two; nothing is asked about what was there before."""
    new = kept.emulator.library.add(uploaded("new.mov", 100))
    ask_for_refresh(mount)
    wait_until(lambda: mount.file_of(new).exists(), "the upload")
    assert mount.file_of(new).stat().st_size == 100
    shown(mount)
    calls = api_calls(kept.emulator)
    assert sorted(call for call in calls if call not in ("streams", "source_file_info")) == [
        "assets",
        "deleted_assets",
    ]
    assert len(calls) == 3
    assert_same_bytes(mount.file_of(new), new)


def test_a_deleted_asset_is_gone(kept: KeptLibrary, mount: Mount) -> None:
    """From the listing and from ``stat``; who has it open gets the old bytes or ESTALE."""
    mount.expect_log("ESTALE|source|ENO")
    before = shown(mount)
    path = mount.file_of(LARGE)
    with held_open(path) as descriptor:
        assert os.pread(descriptor, 4 * KIB, 0) == origin_bytes(LARGE, 0, 4 * KIB)
        kept.emulator.library.delete(LARGE.embed_code)
        ask_for_refresh(mount)
        wait_until(lambda: status(mount)["assets"] < len(ASSETS), "the deletion")
        wait_until(lambda: not status(mount)["syncing"], "the kernel to be told")
        assert path.name not in os.listdir(mount.path)
        assert not path.exists()
        with pytest.raises(FileNotFoundError):
            path.open("rb")
        for offset in (0, 2 * MIB):
            try:
                seen = os.pread(descriptor, 4 * KIB, offset)
            except OSError as error:
                assert error.errno == errno.ESTALE  # noqa: PT017  # success is allowed too
            else:
                assert seen == origin_bytes(LARGE, offset, 4 * KIB)
    assert shown(mount) == {name: row for name, row in before.items() if name != path.name}
    assert len(ended_requests(kept.emulator, route="deleted_assets")) == 1


@pytest.mark.parametrize("keep_old", [False, True], ids=["overwritten", "old object kept"])
@pytest.mark.parametrize("new_size", [3 * MIB, 2 * MIB], ids=["same size", "other size"])
def test_a_replaced_source(kept: KeptLibrary, mount: Mount, new_size: int, keep_old: bool) -> None:
    """Right after the sync: new size, time and bytes; inode and all other files as they were.

    Also where the URL in use goes on serving the old object, hours before it expires.
    """
    before = shown(mount)
    path = mount.file_of(LARGE)
    assert_same_bytes(path, LARGE)
    kept.emulator.library.replace(LARGE.embed_code, size=new_size, keep_old=keep_old)
    ask_for_refresh(mount)
    wait_until(lambda: path.stat().st_mtime != before[path.name][2], "the new time")
    new = current(kept.emulator, LARGE)
    assert new.content is not None
    assert_same_bytes(path, new)
    inode = before[path.name][0]
    assert shown(mount) == {
        **before,
        path.name: (inode, new_size, new.content.last_modified),
    }
    assert url_calls(kept.emulator, LARGE) <= 2


def test_a_reader_of_an_old_object_that_is_kept(kept: KeptLibrary, mount: Mount) -> None:
    """Its version or ESTALE, and ESTALE at close, once the mount has learned of the new one."""
    mount.expect_log("ESTALE")
    path = mount.file_of(LARGE)
    before = path.stat().st_mtime
    descriptor = os.open(path, os.O_RDONLY)
    assert os.pread(descriptor, 4 * KIB, 0) == origin_bytes(LARGE, 0, 4 * KIB)
    kept.emulator.library.replace(LARGE.embed_code, size=3 * MIB, keep_old=True)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    assert os.pread(descriptor, 4 * KIB, 2 * MIB) == origin_bytes(LARGE, 2 * MIB, 4 * KIB)
    ask_for_refresh(mount)
    wait_until(lambda: path.stat().st_mtime != before, "the new time")
    assert_same_bytes(path, current(kept.emulator, LARGE))
    for offset in range(0, 3 * MIB, 256 * KIB):
        try:
            seen = os.pread(descriptor, 4 * KIB, offset)
        except OSError as error:
            assert error.errno == errno.ESTALE  # noqa: PT017  # success is allowed too
        else:
            assert seen == origin_bytes(LARGE, offset, 4 * KIB)
    with pytest.raises(OSError, match="Stale"):
        os.close(descriptor)


def test_an_edited_title_changes_nothing(kept: KeptLibrary, mount: Mount, tmp_path: Path) -> None:
    """One look at the source at most; size, time and inode stay, and rsync copies nothing."""
    before = shown(mount)
    rsync = ["rsync", "-a", "--itemize-changes", f"{mount.path}/", f"{tmp_path}/copy/"]
    assert b">f" in subprocess.run(rsync, check=True, capture_output=True).stdout
    kept.emulator.requests.clear()
    kept.emulator.library.edit(FIRST.embed_code, title="Another title")
    name = b"Another title"
    ask_for_refresh(mount)
    # Who looks between the publication and its end may have the source looked at once more.
    wait_until(lambda: not status(mount)["syncing"], "the end of the sync")
    assert os.getxattr(mount.file_of(FIRST), "user.backlot.name") == name
    assert shown(mount) == before
    assert subprocess.run(rsync, check=True, capture_output=True).stdout == b""
    assert_same_bytes(mount.file_of(FIRST), FIRST)
    assert url_calls(kept.emulator, FIRST) <= 1
    gets = ended_requests(kept.emulator, route="source", embed_code=FIRST.embed_code)
    assert sum(entry.range_header == "bytes=0-0" for entry in gets) <= 1
    assert len(api_calls(kept.emulator)) <= 3


def test_two_assets_that_swap_their_names(kept: KeptLibrary, mount: Mount) -> None:
    """A name once given stays with its asset: each path keeps its inode and its bytes."""
    before = shown(mount)
    library = kept.emulator.library
    library.edit(ASSETS[1].embed_code, original_file_name="clip-2.mov")
    library.edit(ASSETS[2].embed_code, original_file_name="clip-1.mov")
    kept.refresh(mount)
    assert shown(mount) == before
    assert_same_bytes(mount / "clip-1.mov", ASSETS[1])
    assert_same_bytes(mount / "clip-2.mov", ASSETS[2])


def test_a_name_that_is_free_again(kept: KeptLibrary, mount: Mount) -> None:
    """Deleted, and another asset uploaded under its name: another inode, its own bytes."""
    path = mount.file_of(FIRST)
    inode = path.stat().st_ino
    library = kept.emulator.library
    library.delete(FIRST.embed_code)
    second = library.add(uploaded("clip-0.mov", 123, tag="second"))
    ask_for_refresh(mount)
    wait_until(lambda: path.exists() and path.stat().st_ino != inode, "the other asset")
    assert path.stat().st_size == 123
    assert_same_bytes(path, second)


def test_without_a_list_of_deletions_the_full_walk_finds_them(
    kept: KeptLibrary, mount: Mount
) -> None:
    """``/v2/deleted_assets`` is a 404: syncs work all the same, and ``refresh --full`` tells."""
    kept.emulator.faults.add(Fault.status(404), route="deleted_assets")
    kept.emulator.library.delete(FIRST.embed_code)
    kept.refresh(mount)
    assert not status(mount)["stale"]
    done = commands.run("refresh", "--full", mount.path, home=mount.folder)
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: not mount.file_of(FIRST).exists(), "the deletion")


def test_a_server_that_ignores_where(keep: Keep) -> None:
    """It gets whole walks: uploads, deletions and replacements are seen all the same."""
    kept = keep(*ASSETS, supports_where=False)
    mount = kept.mount()
    wait_until_sized(mount)
    library = kept.emulator.library
    kept.refresh(mount)
    kept.emulator.requests.clear()
    library.delete(FIRST.embed_code)
    library.replace(LARGE.embed_code, size=77)
    kept.refresh(mount)
    assert api_calls(kept.emulator).count("assets") == 1, "no more attempts with `where`"
    assert not mount.file_of(FIRST).exists()
    wait_until(lambda: mount.file_of(LARGE).stat().st_size == 77, "the new size")
    assert_same_bytes(mount.file_of(LARGE), current(kept.emulator, LARGE))


def test_sighup_and_the_ttl(kept: KeptLibrary) -> None:
    """SIGHUP syncs at once; without it a use of the mount does, once the TTL has passed."""
    patient = kept.mount()
    new = kept.emulator.library.add(uploaded("new.mov"))
    os.listdir(patient.path)
    patient.process.send_signal(signal.SIGHUP)
    wait_until(lambda: new.original_file_name in os.listdir(patient.path), "SIGHUP to be obeyed")
    patient.close()
    hasty = kept.mount("--metadata-ttl", "100ms")
    kept.wait_until_checked(hasty)
    newer = kept.emulator.library.add(uploaded("newer.mov"))
    wait_until(lambda: newer.original_file_name in os.listdir(hasty.path), "the TTL to pass")


def test_the_time_of_a_folder(kept: KeptLibrary, mount: Mount) -> None:
    """It moves with an upload and a deletion, though the kernel may remember it for an hour."""
    times = [mount.path.stat().st_mtime]
    with mount.file_of(FIRST).open("rb") as file:
        file.read()
    kept.emulator.library.edit(FIRST.embed_code, title="Another title")
    ask_for_refresh(mount)
    times.append(mount.path.stat().st_mtime)
    assert times[0] == times[1]
    kept.emulator.library.add(uploaded("new.mov"))
    ask_for_refresh(mount)
    wait_until(lambda: "new.mov" in os.listdir(mount.path), "the upload is listed")
    wait_until(lambda: mount.path.stat().st_mtime > times[1], "the folder's time moves")
    times.append(mount.path.stat().st_mtime)
    kept.emulator.library.delete(FIRST.embed_code)
    ask_for_refresh(mount)
    wait_until(lambda: mount.path.stat().st_mtime > times[2], "the folder's time moves")
    last = mount.path.stat().st_mtime
    mount.close()
    assert kept.mount().path.stat().st_mtime == last
