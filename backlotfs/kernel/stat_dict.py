"""Attributes as the dictionaries that fusepy copies into the kernel's structures. Pure."""

from __future__ import annotations

from backlotfs.namespace.attributes import IO_BLOCK_BYTES, Attributes, Totals
from backlotfs.namespace.naming import MAX_NAME_BYTES

_NS = 1_000_000_000
#: The unit in which ``df`` counts.
_STATFS_BLOCK_BYTES = 4096


def stat_dict(attributes: Attributes, uid: int, gid: int) -> dict[str, int]:
    """``struct stat``; times in nanoseconds (`use_ns`), blocks in units of 512 bytes."""
    time_ns = attributes.mtime_s * _NS
    return {
        "st_ino": attributes.inode,
        "st_mode": attributes.mode,
        "st_nlink": attributes.nlink,
        "st_uid": uid,
        "st_gid": gid,
        "st_size": attributes.size,
        "st_blocks": attributes.blocks,
        "st_blksize": IO_BLOCK_BYTES,
        "st_atime": time_ns,
        "st_mtime": time_ns,
        "st_ctime": time_ns,
    }


def statfs_dict(totals: Totals) -> dict[str, int]:
    """``struct statvfs``: the library's total, nothing free."""
    return {
        "f_bsize": _STATFS_BLOCK_BYTES,
        "f_frsize": _STATFS_BLOCK_BYTES,
        "f_blocks": -(-totals.size // _STATFS_BLOCK_BYTES),
        "f_bfree": 0,
        "f_bavail": 0,
        "f_files": totals.files,
        "f_ffree": 0,
        "f_favail": 0,
        "f_namemax": MAX_NAME_BYTES,
    }
