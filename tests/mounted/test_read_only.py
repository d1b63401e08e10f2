# SPDX-License-Identifier: Apache-2.0
"""Nothing can be written, by any system call."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backlotfs.kernel.fusepy_adapter import PathOperations, load_fuse
from backlotfs.kernel.mount_table import mount_at
from tests.conftest import MountIt, Serve
from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import Mount

pytestmark = [pytest.mark.mounted, pytest.mark.both_bindings]

REEL = video("reel.mov", 300_000)
ASSETS = [REEL]
#: What the fusepy adapter refuses.
WRITING = {
    "chmod", "chown", "create", "ftruncate", "link", "mkdir", "mknod", "removexattr", "rename",
    "rmdir", "setxattr", "symlink", "truncate", "unlink", "utimens", "write",
}  # fmt: skip
#: What it answers.
READING = {
    "access", "destroy", "flush", "fsync", "fsyncdir", "getattr", "getxattr", "init", "listxattr",
    "open", "opendir", "read", "readdir", "release", "releasedir", "statfs",
}  # fmt: skip
#: There are no links, locks are the kernel's own, the rest is old or needs a block device.
NOT_THERE = {"bmap", "fgetattr", "getdir", "ioctl", "lock", "readlink", "utime"}


def beside(file: Path) -> Path:
    """A path in the same folder that does not exist."""
    return file.with_name("new")


CALLS: dict[str, Callable[[Path], object]] = {
    "open to write": lambda file: os.open(file, os.O_WRONLY),
    "open to read and write": lambda file: os.open(file, os.O_RDWR),
    "open and truncate": lambda file: os.open(file, os.O_RDONLY | os.O_TRUNC),
    "create": lambda file: os.open(beside(file), os.O_CREAT | os.O_WRONLY, 0o600),
    "truncate": lambda file: os.truncate(file, 0),
    "mkdir": lambda file: beside(file).mkdir(),
    "rmdir": lambda file: beside(file).rmdir(),
    "unlink": lambda file: file.unlink(),
    "rename": lambda file: file.rename(beside(file)),
    "link": lambda file: os.link(file, beside(file)),
    "symlink": lambda file: beside(file).symlink_to("anywhere"),
    "mknod": lambda file: os.mknod(beside(file), 0o600),
    "chmod": lambda file: file.chmod(0o600),
    "chown": lambda file: os.chown(file, 1, 1),
    "utime": lambda file: os.utime(file, (1, 1)),
    "setxattr": lambda file: os.setxattr(file, "user.note", b"x"),
    "removexattr": lambda file: os.removexattr(file, "user.mime_type"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_writing_call_fails_with_erofs(library_mount: Mount, name: str) -> None:
    """EROFS; the file stays what it is and none comes beside it."""
    file = library_mount.file_of(REEL)
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the errno is checked below
        CALLS[name](file)
    assert caught.value.errno == errno.EROFS
    assert os.listdir(library_mount.path) == ["reel.mov"]
    assert_same_bytes(file, REEL)


def test_access_denies_writing_and_allows_reading(library_mount: Mount) -> None:
    """access(2) says the same beforehand."""
    file = library_mount.file_of(REEL)
    assert os.access(file, os.R_OK)
    assert not os.access(file, os.W_OK)
    assert not os.access(library_mount.path, os.W_OK)


def test_no_operation_of_the_binding_is_forgotten() -> None:
    """Each that fusepy or libfuse knows is one that reads, one that is refused, or not there."""
    fuse = load_fuse()
    known = {name for name in dir(fuse.Operations) if not name.startswith("_")}
    known |= {field[0] for field in fuse.fuse_operations._fields_ if "flag_" not in field[0]}
    there = {name for name in known if hasattr(PathOperations, name)}
    refused = {name for name in there if "_refuse" in getattr(PathOperations, name).__qualname__}
    assert refused == WRITING
    assert there - refused == READING
    assert known - there == NOT_THERE


@pytest.mark.parametrize("allow_other", [False, True])
def test_how_it_is_mounted(serve: Serve, mounted: MountIt, allow_other: bool) -> None:
    """As the kernel sees it: nothing is written, run or trusted; others are held to the modes."""
    mount = mounted(serve(REEL), *(["--allow-other"] if allow_other else []))
    entry = mount_at(mount.path)
    assert entry is not None
    assert {"ro", "nosuid", "nodev", "noexec"} <= entry.options
    for option in ("allow_other", "default_permissions"):
        assert (option in entry.options) is allow_other
