"""What ``stat``, ``statfs`` and ``getxattr`` say, before it is in the kernel's structures. Pure."""

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
#: The unit programs copy in best: one request of the kernel.
IO_BLOCK_BYTES = 128 * 1024
#: Extended attributes have names that begin so; all others are refused.
PREFIX = "user."
#: Those of the mount itself: getxattr answers them, listxattr does not name them. Copies of files
#: keep what is listed, and would never be up to date with values that change as files are read.
UNLISTED = "user.backlotfs."
#: No value is longer, in bytes of UTF-8; the whole text is in the sidecar.
MAX_VALUE_BYTES = 2048
#: All listed attributes of a file together: ext4 has room for one block of 4096 bytes, in which
#: each attribute takes `_ENTRY_BYTES` besides its name and value.
MAX_LISTED_BYTES = 3840
_ENTRY_BYTES = 24


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


class CacheState(NamedTuple):
    """What this mount, not the library, knows of a file.

    :ivar cached_bytes: of it in memory or on disk. :ivar pinned: whether it stays there.
    :ivar last_error: why the last read or open of it that failed did; ``""``: none did.
    :ivar last_error_at_s: when, seconds since the epoch.
    """

    cached_bytes: int = 0
    pinned: bool = False
    last_error: str = ""
    last_error_at_s: float = 0.0


def extended_attributes(asset: Asset, file_name: str, local: CacheState) -> dict[str, bytes]:
    """Name to value, UTF-8; attributes without a value are left out.

    Long values are cut between two characters, so that any disk can keep a copy's attributes.
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
        "user.backlotfs.cached": str(local.cached_bytes),
        "user.backlotfs.last_error": local.last_error
        and f"{iso_utc(int(local.last_error_at_s))} {local.last_error}",
        "user.backlotfs.pinned": str(int(local.pinned)),
        "user.mime_type": mime_type or "",
    }
    values = {name: text.encode("utf-8", "replace") for name, text in texts.items() if text}
    return _bounded(values)


def listed(attributes: Iterable[str]) -> list[str]:
    """The names of those that listxattr(2) shows."""
    return [name for name in attributes if not name.startswith(UNLISTED)]


def _bounded(values: dict[str, bytes]) -> dict[str, bytes]:
    """The values, the longest of them cut until the listed ones have room together."""
    names = sorted(listed(values), key=lambda name: len(values[name]))
    room = MAX_LISTED_BYTES - sum(_ENTRY_BYTES + len(name) for name in names)
    longest = dict.fromkeys(values, MAX_VALUE_BYTES)
    for count, name in zip(range(len(names), 0, -1), names, strict=True):
        # the short ones first: what they leave is for the long ones, in equal parts
        longest[name] = min(MAX_VALUE_BYTES, room // count)
        room -= min(len(values[name]), longest[name])
    return {name: _cut(value, longest[name]) for name, value in values.items()}


def _cut(value: bytes, size: int) -> bytes:
    """At most so many of the first bytes, all of whole characters."""
    return value if len(value) <= size else value[:size].decode("utf-8", "ignore").encode()


def value_of(attributes: dict[str, bytes], name: str) -> bytes:
    """One value.

    :raises NotSupported: outside ``user.*``: with ENODATA there, ``ls -l`` would ask four times
        per file, each time. :raises NoAttribute: a ``user.*`` name this file does not have.
    """
    if not name.startswith(PREFIX):
        raise NotSupported(f"extended attributes outside {PREFIX}* are not supported")
    value = attributes.get(name)
    if value is None:
        raise NoAttribute(f"no attribute {name!r}")
    return value


def iso_utc(epoch_s: int) -> str:
    """A time as text, ``2013-01-31T23:59:59Z``; ``""`` for none, and beyond the year 9999."""
    if not epoch_s:
        return ""
    try:
        return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""
