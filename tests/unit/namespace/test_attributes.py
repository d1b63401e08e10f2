"""What ``stat`` says, before the kernel's structures."""

from __future__ import annotations

import stat

import pytest

from backlotfs.namespace.attributes import directory_attributes, file_attributes


@pytest.mark.parametrize(
    ("size", "blocks"), [(0, 0), (1, 1), (512, 1), (513, 2), (5 * 10**12, 9_765_625_000)]
)
def test_a_file(size: int, blocks: int) -> None:
    """Blocks count 512 bytes, whatever the block size."""
    found = file_attributes(9, size, mtime_s=5, umask=0o022)
    assert (found.inode, found.size, found.blocks, found.mtime_s) == (9, size, blocks, 5)
    assert found.nlink == 1


@pytest.mark.parametrize(
    ("umask", "file_mode", "dir_mode"),
    [(0o022, 0o444, 0o555), (0, 0o444, 0o555), (0o077, 0o400, 0o500), (0o777, 0, 0)],
)
def test_modes(umask: int, file_mode: int, dir_mode: int) -> None:
    """Nothing is ever writable; the umask takes the rest."""
    as_file = file_attributes(1, 1000, mtime_s=0, umask=umask)
    as_dir = directory_attributes(1, mtime_s=0, umask=umask)
    assert as_file.mode == stat.S_IFREG | file_mode
    assert as_dir.mode == stat.S_IFDIR | dir_mode


def test_links_of_a_folder() -> None:
    """2 and one per sub-folder, as ``find`` expects."""
    assert directory_attributes(1, mtime_s=0, umask=0).nlink == 2
    assert directory_attributes(1, mtime_s=0, umask=0, subdirs=3).nlink == 5
