# SPDX-License-Identifier: Apache-2.0
"""backlotfs umount: polite, informative, and able to clear what a crash left."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import MountIt, Serve
from tests.support.commands import run
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import MIB, video
from tests.support.mounting import END_S, Mount, detach, held_open, is_mounted
from tests.support.programs import run_program

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 3 * MIB)


@pytest.fixture
def mount(serve: Serve, mounted: MountIt) -> Mount:
    """A mount of one file."""
    return mounted(serve(REEL))


def test_umount_ends_the_daemon(mount: Mount) -> None:
    """An idle mount goes away and its process with it, exit code 0 for both."""
    done = run("umount", mount.path, home=mount.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert mount.process.wait(END_S) == 0
    assert not is_mounted(mount.path)


def test_umount_of_a_mount_in_use_says_who_holds_it(mount: Mount) -> None:
    """Exit code 1, the holder's pid, and the mount goes on as if nothing had been asked."""
    with mount.file_of(REEL).open("rb") as file:
        file.read(1000)
        done = run("umount", mount.path, home=mount.folder)
    assert done.returncode == 1
    assert f"(pid {os.getpid()})" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert mount.process.poll() is None
    assert_same_bytes(mount.file_of(REEL), REEL)
    assert run("umount", mount.path, home=mount.folder).returncode == 0


def test_a_mount_just_after_an_unmount_has_the_disk_cache(serve: Serve, tmp_path: Path) -> None:
    """It waits for the process of the mount before it, which still closes its files."""
    emulator = serve(REEL)
    cache = ("--cache-dir", str(tmp_path / "cache"), "--cache-size", "64M")
    with Mount(emulator, tmp_path, *cache) as before:
        wait_until(lambda: "INFO backlotfs.mount.serve: mounted" in before.log_text(), "the mount")
        before.process.send_signal(signal.SIGSTOP)
        detach(before.path)
        mount = Mount(emulator, tmp_path, *cache)
        with closing(mount.launch()):
            wait_until(lambda: "waiting for the disk cache" in mount.log_text(), "the wait")
            before.process.send_signal(signal.SIGCONT)
            wait_until(lambda: "INFO backlotfs.mount.serve: mounted" in mount.log_text(), "it")
            done = run("warm", mount.file_of(REEL), home=tmp_path)
            assert (done.returncode, done.stderr) == (0, "")


def test_a_mount_beside_another_does_not_wait_for_its_disk_cache(
    serve: Serve, tmp_path: Path
) -> None:
    """It serves without one, and says so, because a size was given."""
    emulator = serve(REEL)
    cache = ("--cache-dir", str(tmp_path / "cache"), "--cache-size", "64M")
    (tmp_path / "second").mkdir()
    with Mount(emulator, tmp_path, *cache):
        second = Mount(emulator, tmp_path / "second", *cache)
        second.expect_log("another mount is using it")
        with second:
            assert_same_bytes(second.file_of(REEL), REEL)
            assert "another mount is using it" in second.log_text()
            assert "waiting for the disk cache" not in second.log_text()


@pytest.mark.parametrize("lazily", [False, True], ids=["SIGTERM", "umount -l"])
def test_a_mount_that_ends_leaves_a_later_one_alone(
    serve: Serve, tmp_path: Path, lazily: bool
) -> None:
    """It waits for a program that has a file open, and ends when the later mount is there."""
    emulator = serve(REEL)
    before = Mount(emulator, tmp_path, "--cache-size", "0")
    with before, held_open(before.file_of(REEL)):
        if lazily:
            run_program("umount", "-l", before.path)
        else:
            before.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not is_mounted(before.path), "the unmount")
        with Mount(emulator, tmp_path, "--cache-size", "0") as later:
            before.process.send_signal(signal.SIGTERM)
            assert before.process.wait(END_S) == 0
            assert later.process.poll() is None
            assert_same_bytes(later.file_of(REEL), REEL)


def test_umount_of_nothing_says_so(tmp_path: Path) -> None:
    """Exit code 5 where nothing is mounted, and where the mount is somebody else's."""
    done = run("umount", tmp_path, home=tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith(f"backlotfs: {tmp_path} is not mounted; ")
    other = run("umount", "/proc", home=tmp_path)
    assert other.returncode == 5
    assert "type proc" in other.stderr
    assert is_mounted(Path("/proc"))


def test_a_killed_daemon_is_cleared_and_mounted_again(mount: Mount, mounted: MountIt) -> None:
    """SIGKILL leaves "Transport endpoint is not connected"; umount repairs it, mount works."""
    mount.kill()
    with pytest.raises(OSError, match="Transport endpoint is not connected") as caught:
        os.listdir(mount.path)  # a stat is answered from the kernel's cache for a moment
    assert caught.value.errno == errno.ENOTCONN
    done = run("umount", mount.path, home=mount.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert not is_mounted(mount.path)
    with Mount(mount.emulator, mount.folder) as again:
        assert again.path == mount.path
        assert_same_bytes(again.file_of(REEL), REEL)


@pytest.mark.long
def test_mounting_anew_repairs_what_a_killed_daemon_left(mount: Mount) -> None:
    """Without `umount` in between, also while a program still holds a file of the dead one."""
    with held_open(mount.file_of(REEL)):
        mount.kill()
        again = Mount(mount.emulator, mount.folder)
        again.expect_log("cleared the dead mount on")
        with closing(again.launch()):
            wait_until(lambda: "INFO backlotfs.mount.serve: mounted" in again.log_text(), "it")
            assert "cleared the dead mount on" in again.log_text()
            assert_same_bytes(again.file_of(REEL), REEL)
            # one mount lies there, not one on the other
            assert run("umount", again.path, home=again.folder).returncode == 0
            assert not is_mounted(again.path)


@pytest.mark.long
def test_mounting_anew_leaves_a_mount_that_lives(mount: Mount) -> None:
    """One that answers is refused, not repaired, and goes on."""
    config = mount.folder / "config.toml"
    done = run("mount", "--config", config, "--profile", "test", mount.path, home=mount.folder)
    assert done.returncode == 5
    assert "is already mounted" in done.stderr
    assert_same_bytes(mount.file_of(REEL), REEL)


def test_a_dead_mount_that_somebody_still_holds_is_cleared_too(mount: Mount) -> None:
    """An open file of a killed daemon does not keep the mountpoint from being repaired."""
    with held_open(mount.file_of(REEL)) as descriptor:
        mount.kill()
        done = run("umount", mount.path, home=mount.folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert not is_mounted(mount.path)
        with pytest.raises(OSError, match=r"not connected|aborted"):
            os.pread(descriptor, 10, 2 * MIB)


@pytest.mark.long
def test_a_daemon_killed_at_any_moment_of_its_start_dies(serve: Serve, tmp_path: Path) -> None:
    """SIGKILL as soon as the mount appears: no thread of its own waits in it, so it can die."""
    emulator = serve(REEL)
    for _ in range(5):
        mount = Mount(emulator, tmp_path)
        mount.launch()
        try:
            wait_until(lambda mount=mount: is_mounted(mount.path), "the mount")  # type: ignore[misc]  # bound now
            mount.kill()
            assert run("umount", mount.path, home=tmp_path).returncode == 0
        finally:
            mount.close()
