"""What ``stat`` and ``statfs`` say, before it is put into the kernel's structures. Pure."""

from __future__ import annotations

import stat
from typing import NamedTuple

#: ``st_blocks`` counts these, whatever ``st_blksize`` is (stat(2)).
STAT_BLOCK_BYTES = 512
#: The unit programs copy in best: one request of the kernel.
IO_BLOCK_BYTES = 128 * 1024


class Attributes(NamedTuple):
    """Of one file or folder; times in seconds since the epoch, sizes in bytes.

    :ivar settled: False: the size is not known yet, or may have changed; ask again before use.
    """

    inode: int
    mode: int
    nlink: int
    size: int
    mtime_s: int
    settled: bool = True

    @property
    def blocks(self) -> int:
        """Units of 512 bytes."""
        return -(-self.size // STAT_BLOCK_BYTES)


class Totals(NamedTuple):
    """Of the library, for ``statfs``."""

    files: int
    size: int


def file_attributes(
    inode: int, size: int, *, mtime_s: int, umask: int, nlink: int = 1
) -> Attributes:
    """A source as a file."""
    return Attributes(inode, stat.S_IFREG | (0o444 & ~umask), nlink, size, mtime_s)


def directory_attributes(inode: int, *, mtime_s: int, umask: int, subdirs: int = 0) -> Attributes:
    """A folder; ``nlink`` is 2 and one more per sub-folder, as ``find`` expects."""
    mode = stat.S_IFDIR | (0o555 & ~umask)
    return Attributes(inode, mode, 2 + subdirs, 0, mtime_s)
