# SPDX-License-Identifier: Apache-2.0
"""The values that ``stat``, ``statfs`` and ``getxattr`` return, as Python tuples. Pure."""

from __future__ import annotations

import mimetypes
import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from backlotfs.api.records import Asset
from backlotfs.errors import NoAttribute, NotSupported

#: ``st_blocks`` counts these, whatever ``st_blksize`` is (stat(2)).
STAT_BLOCK_BYTES = 512
#: The preferred unit of copies (``st_blksize``): one request of the kernel.
IO_BLOCK_BYTES = 128 * 1024
#: The start of the names of all extended attributes; others are refused.
PREFIX = "user."
#: The start of the mount's own attributes: getxattr returns them, listxattr does not list them,
#: because programs copy listed attributes with a file, and these change while files are read.
UNLISTED = "user.backlotfs."
#: No value is longer, in bytes of UTF-8; the whole text is in the sidecar.
MAX_VALUE_BYTES = 2048
#: All listed attributes of a file together: ext4 has room for one block of 4096 bytes, in which
#: each attribute takes `_ENTRY_BYTES` besides its name and value.
MAX_LISTED_BYTES = 3840
_ENTRY_BYTES = 24
#: Modes before the umask. The owner may write, although no write succeeds (EROFS): copies keep the
#: mode, and without this permission the entries of a copied folder could not be deleted.
FILE_MODE, FOLDER_MODE = stat.S_IFREG | 0o666, stat.S_IFDIR | 0o777


#: The times that are shown, 1970-01-01 to 2106-02-07 06:28:15, in seconds since the epoch. A disk
#: that cannot hold a time stores another one, and rsync would copy the file again and again.
EARLIEST_S, LATEST_S = 0, 2**32 - 1


class Attributes(NamedTuple):
    """The attributes of a file or folder; times in seconds since the epoch, sizes in bytes.

    :ivar settled: whether the size is known and current; otherwise the kernel must not cache it.
    """

    inode: int
    mode: int
    nlink: int
    size: int
    mtime_s: int
    settled: bool = True


class Totals(NamedTuple):
    """The number of files and total size of the library, for ``statfs``."""

    files: int
    size: int


def file_attributes(
    inode: int, size: int, *, mtime_s: int, umask: int, nlink: int = 1
) -> Attributes:
    """The attributes of a file."""
    if not is_storable(mtime_s):
        mtime_s = storable(mtime_s)
    return Attributes(inode, FILE_MODE & ~umask, nlink, size, mtime_s)


def directory_attributes(inode: int, *, mtime_s: int, umask: int, subdirs: int = 0) -> Attributes:
    """The attributes of a folder; ``nlink`` is 2 plus one per sub-folder, as ``find`` expects."""
    return Attributes(inode, FOLDER_MODE & ~umask, 2 + subdirs, 0, storable(mtime_s))


def is_storable(mtime_s: int) -> bool:
    """Whether disks can hold this time."""
    return EARLIEST_S <= mtime_s <= LATEST_S


def storable(mtime_s: int) -> int:
    """The nearest time that disks can hold."""
    return min(max(mtime_s, EARLIEST_S), LATEST_S)


class CacheState(NamedTuple):
    """The state of a file in this mount.

    :ivar cached_bytes: bytes in memory or on disk. :ivar pinned: whether the file is pinned.
    :ivar passthrough: whether the file is open and the kernel reads it itself.
    :ivar last_error: reason of the last failed read or open; ``""``: none failed.
    :ivar last_error_at_s: time of that error, seconds since the epoch.
    """

    cached_bytes: int = 0
    pinned: bool = False
    last_error: str = ""
    last_error_at_s: float = 0.0
    passthrough: bool = False


def extended_attributes(asset: Asset, file_name: str, local: CacheState | None) -> dict[str, bytes]:
    """The extended attributes as name to UTF-8 value; attributes without a value are left out.

    Long values are cut between two characters, so that any disk can store a copy's attributes.

    :param local: None: leave out the mount's own attributes.
    """
    mime_type, _ = mimetypes.guess_type(file_name)
    texts = {
        "user.backlot.embed_code": asset.embed_code,
        "user.backlot.name": asset.title,
        "user.backlot.description": asset.description or "",
        "user.backlot.original_file_name": asset.original_file_name or "",
        "user.backlot.asset_type": asset.asset_type,
        "user.backlot.status": asset.status,
        "user.backlot.external_id": asset.external_id or "",
        "user.backlot.duration_ms": str(asset.duration_ms) if asset.duration_ms else "",
        "user.backlot.created_at": iso_utc(asset.created_at_s),
        "user.backlot.updated_at": iso_utc(asset.updated_at_s),
        "user.mime_type": mime_type or "",
    }
    if local is not None:
        texts |= {
            "user.backlotfs.cached": str(local.cached_bytes),
            "user.backlotfs.last_error": local.last_error
            and f"{iso_utc(int(local.last_error_at_s))} {local.last_error}",
            "user.backlotfs.passthrough": str(int(local.passthrough)),
            "user.backlotfs.pinned": str(int(local.pinned)),
        }
    values = {name: text.encode("utf-8", "replace") for name, text in texts.items() if text}
    return _bounded(values)


def listed(attributes: Iterable[str]) -> list[str]:
    """The names that listxattr(2) returns."""
    return [name for name in attributes if not name.startswith(UNLISTED)]


def _bounded(values: dict[str, bytes]) -> dict[str, bytes]:
    """The values, the longest ones cut so that all listed attributes fit `MAX_LISTED_BYTES`."""
    names = sorted(listed(values), key=lambda name: len(values[name]))
    room = MAX_LISTED_BYTES - sum(_ENTRY_BYTES + len(name) for name in names)
    longest = dict.fromkeys(values, MAX_VALUE_BYTES)
    for count, name in zip(range(len(names), 0, -1), names, strict=True):
        # short values first: the long ones share the remaining room equally
        longest[name] = min(MAX_VALUE_BYTES, room // count)
        room -= min(len(values[name]), longest[name])
    return {name: _cut(value, longest[name]) for name, value in values.items()}


def _cut(value: bytes, size: int) -> bytes:
    """Cut ``value`` to at most ``size`` bytes between two characters."""
    return value if len(value) <= size else value[:size].decode("utf-8", "ignore").encode()


def value_of(attributes: dict[str, bytes], name: str) -> bytes:
    """The value of one attribute.

    :raises NotSupported: the name is not ``user.*``. (With ENODATA, ``ls -l`` would ask four
        times per file.) :raises NoAttribute: the file has no such ``user.*`` attribute.
    """
    if not name.startswith(PREFIX):
        raise NotSupported(f"extended attributes outside {PREFIX}* are not supported")
    value = attributes.get(name)
    if value is None:
        raise NoAttribute(f"no attribute {name!r}")
    return value


def iso_utc(epoch_s: int) -> str:
    """Format a time as ``2013-01-31T23:59:59Z``; ``""`` for 0 and beyond the year 9999."""
    if not epoch_s:
        return ""
    try:
        return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""
