# SPDX-License-Identifier: Apache-2.0
"""Is this a place to mount on? If not, why not, and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from backlotfs.errors import FuseUnusable
from backlotfs.kernel import mountpoint as mountpoint_module
from backlotfs.kernel.mount_table import FUSE_TYPE, MountEntry, MountProbe
from backlotfs.kernel.mountpoint import MountpointLock, check_mountpoint, resolved


def test_an_empty_folder(tmp_path: Path) -> None:
    """Is fine."""
    check_mountpoint(tmp_path)


def test_refusals(tmp_path: Path) -> None:
    """Absent, no folder, not empty: each with its remedy."""
    with pytest.raises(FuseUnusable, match=r"does not exist; create it: mkdir -p .*/absent"):
        check_mountpoint(tmp_path / "absent")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FuseUnusable, match="is not a directory"):
        check_mountpoint(file)
    with pytest.raises(FuseUnusable, match="is not empty"):
        check_mountpoint(tmp_path)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOTCONN, "dead mount .*Transport endpoint.*clear it: backlotfs umount"),
        (errno.EACCES, "cannot be read: Permission denied"),
        (errno.EIO, "cannot be read: Input/output error"),
    ],
)
def test_folders_that_cannot_be_read(
    number: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead mount is told apart from everything else."""

    def fail(path: object) -> list[str]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "listdir", fail)
    with pytest.raises(FuseUnusable, match=says):
        check_mountpoint(tmp_path)


def test_already_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By us; an empty file system of another kind may be mounted over."""
    entry = MountEntry(str(tmp_path), FUSE_TYPE, "backlot:main", frozenset())
    monkeypatch.setattr(mountpoint_module, "mount_at", lambda _path: entry)
    with pytest.raises(FuseUnusable, match="already mounted; unmount it first: backlotfs umount"):
        check_mountpoint(tmp_path)
    other = MountEntry(str(tmp_path), "tmpfs", "tmpfs", frozenset())
    monkeypatch.setattr(mountpoint_module, "mount_at", lambda _path: other)
    check_mountpoint(tmp_path)


def test_a_remedy_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own command refuses what is not ours."""
    for fs_type, remedy in ((FUSE_TYPE, "backlotfs umount"), ("fuse.sshfs", "umount -l")):
        entry = MountEntry(str(tmp_path), fs_type, "x", frozenset())
        monkeypatch.setattr(mountpoint_module, "mount_at", lambda _path, entry=entry: entry)
        monkeypatch.setattr(
            mountpoint_module,
            "probe_mount",
            lambda _path: MountProbe(None, dead=False, silent=True),
        )
        with pytest.raises(FuseUnusable, match=f"does not answer; clear it: {remedy} "):
            check_mountpoint(tmp_path)


def test_an_ordinary_user_needs_write_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fusermount demands it; root does not ask."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(FuseUnusable, match="is not writable by this user"):
        check_mountpoint(tmp_path)


def test_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute and without links, the last component included: mountinfo shows no links."""
    real = (tmp_path / "real").resolve()
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "relative").symlink_to("link/../real")
    (tmp_path / "via").symlink_to(tmp_path)
    for path in ("real", "link", "relative", "via/link", "real/", "real/.", "real/../link"):
        assert resolved(tmp_path / path) == real
        assert resolved(f"{tmp_path}/{path}") == real
    monkeypatch.chdir(real)
    assert resolved(".") == real
    assert resolved("/") == Path("/")
    assert resolved(tmp_path / "absent") == real.parent / "absent"


def test_a_circle_of_links(tmp_path: Path) -> None:
    """Ends somewhere, and there nothing can be mounted."""
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(FuseUnusable, match="cannot be read: Too many levels"):
        check_mountpoint(resolved(tmp_path / "a"))


def test_the_last_component_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a dead mount, on which every look hangs or fails."""
    dead = tmp_path / "dead"
    dead.mkdir()

    def refuse(path: str | Path, *args: object, **more: object) -> None:
        assert Path(path) != dead

    for name in ("stat", "listdir", "statvfs"):
        monkeypatch.setattr(os, name, refuse)
    assert resolved(dead).name == "dead"


def test_a_lock_that_another_program_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for; if it is not released, the mount fails and says how to find the holder."""
    monkeypatch.setattr(mountpoint_module, "_LOCK_WAIT_S", 0.05)
    holder, lock = MountpointLock(tmp_path), MountpointLock(tmp_path)
    holder.acquire()
    with pytest.raises(FuseUnusable, match=r"holds a lock on .*lslocks"):
        lock.acquire()
    holder.release()
    lock.acquire()
    lock.release()
    lock.release()
