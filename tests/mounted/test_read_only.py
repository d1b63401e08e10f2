"""Nothing can be written, by any system call."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.expected_bytes import assert_same_bytes
from tests.support.made_assets import video
from tests.support.mounting import Mount

pytestmark = pytest.mark.mounted

REEL = video("reel.mov", 300_000)
ASSETS = [REEL]


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
