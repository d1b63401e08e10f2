# SPDX-License-Identifier: Apache-2.0
"""What stat, statfs, mountinfo and the extended attributes say."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess

import pytest

from backlotfs.emulator import SyntheticContent
from backlotfs.kernel.mount_table import mount_at
from tests.conftest import MountIt, Serve
from tests.support.deadlines import wait_until
from tests.support.expected_bytes import len_of
from tests.support.made_assets import KIB, MIB, video
from tests.support.mounting import Mount

pytestmark = [pytest.mark.mounted, pytest.mark.both_bindings]

REEL = video(
    "reel.mov",
    SyntheticContent(5, 3 * MIB + 1, last_modified=1_400_000_123),
    title="Harbour, take 2",
    created_at=1_399_999_999,
    external_id="customer/7",
)
EMPTY = video("empty.mov", 0)
CHANNEL = video(None, b"", asset_type="channel", title="A channel")
ASSETS = [REEL, EMPTY, CHANNEL]


def test_stat_tells_the_truth(library_mount: Mount) -> None:
    """Size, blocks of 512, block size of one request, link count, time of the origin's object."""
    seen = library_mount.file_of(REEL).stat()
    assert seen.st_size == len_of(REEL)
    assert seen.st_blocks == -(-len_of(REEL) // 512)
    assert seen.st_blksize == 128 * KIB
    assert seen.st_nlink == 1
    assert seen.st_mtime_ns == 1_400_000_123 * 10**9
    assert stat.S_IFMT(seen.st_mode) == stat.S_IFREG
    assert stat.S_IMODE(seen.st_mode) == 0o644
    assert (seen.st_uid, seen.st_gid) == (os.getuid(), os.getgid())


def test_the_time_of_birth(library_mount: Mount, fuse_binding: str) -> None:
    """When the asset was made, on Linux 6.6; fusepy has none."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or (int(release[1]), int(release[2])) < (6, 6):
        pytest.skip("this kernel does not ask FUSE for it; Linux 6.6 does")
    command = ["stat", "--format=%W", str(library_mount.file_of(REEL))]
    born_s = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert born_s == (0 if fuse_binding == "fusepy" else 1_399_999_999)


def test_the_root_is_a_folder(library_mount: Mount) -> None:
    """Mode 0755, two links, inode 1, and only the assets that have a source."""
    seen = library_mount.path.stat()
    assert stat.S_IFMT(seen.st_mode) == stat.S_IFDIR
    assert stat.S_IMODE(seen.st_mode) == 0o755
    assert (seen.st_nlink, seen.st_ino) == (2, 1)
    assert sorted(os.listdir(library_mount.path)) == ["empty.mov", "reel.mov"]


def test_an_empty_source_has_size_zero(library_mount: Mount) -> None:
    """0 bytes because the origin says so."""
    seen = library_mount.file_of(EMPTY).stat()
    assert (seen.st_size, seen.st_blocks) == (0, 0)


def test_the_listing_carries_inodes_and_types(library_mount: Mount) -> None:
    """What readdir says is what stat says."""
    with os.scandir(library_mount.path) as entries:
        for entry in entries:
            assert entry.is_file(follow_symlinks=False)
            assert entry.inode() == entry.stat().st_ino


def test_options_change_owner_and_mode_and_inodes_stay(serve: Serve, mounted: MountIt) -> None:
    """--uid, --gid, --umask show; the inode is the same in another mount of another process."""
    emulator = serve(REEL, video("another.mov"))
    first = mounted(emulator, "--umask", "077", "--uid", "1234", "--gid", "4321")
    seen = first.file_of(REEL).stat()
    assert stat.S_IMODE(seen.st_mode) == 0o600
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o700
    assert (seen.st_uid, seen.st_gid) == (1234, 4321)
    first.close()
    emulator.library.add(video("uploaded meanwhile.mov"))
    second = mounted(emulator, "-o", "umask=027")
    again = second.file_of(REEL).stat()
    assert again.st_ino == seen.st_ino
    assert stat.S_IMODE(again.st_mode) == 0o640


def test_statfs_gives_the_total_of_the_library(library_mount: Mount) -> None:
    """df shows what the sources add up to, full, read-only, with the longest name."""
    for asset in (REEL, EMPTY):
        library_mount.file_of(asset).stat()
    # The total is that of the catalog, to which new sizes are written after half a second.
    wait_until(lambda: os.statvfs(library_mount.path).f_blocks > 0, "the sizes in the catalog")
    seen = os.statvfs(library_mount.path)
    total = len_of(REEL) + len_of(EMPTY)
    assert total <= seen.f_blocks * seen.f_frsize < total + seen.f_frsize
    assert (seen.f_bfree, seen.f_bavail, seen.f_files) == (0, 0, 2)
    assert seen.f_namemax == 255
    assert seen.f_flag & os.ST_RDONLY


def test_mountinfo_shows_type_source_and_safe_options(library_mount: Mount) -> None:
    """fuse.backlotfs, from backlot:PROFILE, read-only, nothing on it runs or is trusted."""
    entry = mount_at(library_mount.path)
    assert entry is not None
    assert entry.fs_type == "fuse.backlotfs"
    assert entry.source == "backlot:test"
    assert {"ro", "nosuid", "nodev", "noexec"} <= entry.options


def test_extended_attributes_tell_of_the_asset(library_mount: Mount) -> None:
    """getfattr shows the record's fields and the MIME type."""
    path = library_mount.file_of(REEL)
    shown = subprocess.run(
        ["getfattr", "--absolute-names", "-d", path], capture_output=True, text=True, check=True
    ).stdout
    for name, value in {
        "user.backlot.embed_code": REEL.embed_code,
        "user.backlot.name": "Harbour, take 2",
        "user.backlot.status": "live",
        "user.backlot.created_at": "2014-05-13T16:53:19Z",
        "user.backlot.external_id": "customer/7",
        "user.mime_type": "video/quicktime",
    }.items():
        assert f'{name}="{value}"' in shown.splitlines()
        assert os.getxattr(path, name).decode() == value
        assert name in os.listxattr(path)
    assert os.listxattr(library_mount.path) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("user.absent", errno.ENODATA),
        ("security.capability", errno.ENOTSUP),
        ("system.posix_acl_access", errno.ENOTSUP),
        ("trusted.overlay.opaque", errno.ENOTSUP),
    ],
)
def test_other_attributes_are_refused_for_good(
    library_mount: Mount, name: str, expected: int
) -> None:
    """ENODATA within user.*, ENOTSUP outside, or ls -l asks again and again."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is checked below
        os.getxattr(library_mount.file_of(REEL), name)
    assert caught.value.errno == expected
