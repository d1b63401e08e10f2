# SPDX-License-Identifier: Apache-2.0
"""The records of a library: assets, labels, and the bytes of their sources.

A ``Content`` is the source of an asset: a file, bytes in memory, or computed bytes. ``open()``
opens one *version* of it, so that the validator in the headers and the bytes in the body are always
of the same version of a file.

Computed bytes are f(seed, offset), so 10 TB take no disk space, and a test knows every byte. A seed
gives 64 KiB of noise. Chunk ``k`` of an object is this noise, rotated by an amount that depends on
``k``, and with ``k`` written over the first 8 bytes of each 4 KiB page. No two pages of an object
are equal, so a test notices a page from a wrong offset or a wrong asset.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from backlotfs.emulator.media_folder import MediaFolder, open_regular_file
from backlotfs.emulator.numbers_and_dates import FIRST_SECOND, LAST_SECOND

CHUNK_BYTES = 64 * 1024
_PAGE_BYTES = 4096
_STAMP = struct.Struct(">Q")
_STRIDE = 40_503  # odd, so that the rotation visits every value before it repeats
_NOTHING: Mapping[str, Any] = MappingProxyType({})  # one for all: libraries are large
_OLDEST = 1_356_998_400  # 2013-01-01T00:00:00Z, fixed so that all runs make the same assets
_PER_SECOND = 50  # made-up assets that share one ``created_at``: bulk uploads make ties common
_DUPLICATE_EVERY = 97
_BYTES_PER_MS = 1000  # 8 Mbit/s, a usual rate for a source

SOURCE_TYPES = frozenset({"video", "ad", "audio"})
"""Asset types that have a source file."""

Fixed = TypeVar("Fixed", bound="_FixedContent")


def stable_embed_code(identity: str) -> str:
    """32 characters of ``[A-Za-z0-9_-]`` that depend on ``identity`` alone."""
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode("ascii")


def stable_label_id(identity: str) -> str:
    """32 hexadecimal digits that depend on ``identity`` alone."""
    return hashlib.sha256(f"label:{identity}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class EmulatedAsset:
    """One asset. Immutable: ``Library.edit`` and ``Library.replace`` put a new one in its place.

    :ivar embed_code: the id, 32 characters of ``[A-Za-z0-9_-]``.
    :ivar title: the API's ``name``.
    :ivar original_file_name: the name at upload; any characters, or None.
    :ivar content: the source object; None for an asset without one.
    :ivar asset_type: ``video``, ``audio``, ``ad``, ``remote_asset``, ``channel`` …
    :ivar status: ``live``, ``paused``, ``processing`` …
    :ivar created_at: seconds since the epoch, whole.
    :ivar updated_at: seconds since the epoch, whole; 0 stands for ``created_at``.
    :ivar duration_ms: playing time.
    :ivar metadata: custom key/value pairs.
    :ivar label_ids: ids of the labels it carries.
    :ivar reported_size: the ``file_size`` in answers of the API; None for the true size.
    :ivar url_withheld: whether the API answers with a null URL although there is a source.
    :ivar upload: the number of replacements that left the old object in place; part of the key.
    :ivar source_position: position of the source among the entries of ``/streams``.
    :ivar preview_image: its preview image, encoded; None for a frame of its file, or one colour.
    :ivar extras: other fields of the record (``stream_urls``, ``click_url`` …), and the bodies of
        side-car routes under ``"/lineup"`` and so on; ``"/closed_captions"`` is a document, as text
        or bytes.
    """

    embed_code: str
    title: str
    original_file_name: str | None = None
    content: Content | None = None
    asset_type: str = "video"
    status: str = "live"
    created_at: int = _OLDEST
    updated_at: int = 0
    duration_ms: int = 0
    description: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    label_ids: tuple[str, ...] = ()
    reported_size: int | None = None
    url_withheld: bool = False
    upload: int = 0
    source_position: int = 0
    preview_image: bytes | None = None
    extras: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @property
    def changed_at(self) -> int:
        """``updated_at`` as the API shows it: a later date of the file on disk changes it too."""
        changed = max(self.created_at, self.updated_at)
        if isinstance(self.content, FileContent):
            changed = max(changed, self.content.last_modified)
        return changed

    @property
    def object_key(self) -> str:
        """Key of the source object: ``<embed_code>/<first>-<last>``, 13 digits each.

        After a replacement that left the old object in place, ``upload`` stands in between.
        """
        size = self.content.size if self.content is not None else 0
        upload = f"{self.upload}/" if self.upload else ""
        return f"{self.embed_code}/{upload}{0:013d}-{max(0, size - 1):013d}"


@dataclass(frozen=True, slots=True)
class EmulatedLabel:
    """One label of the tree.

    :ivar label_id: 32 hexadecimal digits.
    :ivar name: its own name; may hold ``/`` and ``,``, and need not be unique.
    :ivar parent_id: the label above; None at the top.
    """

    label_id: str
    name: str
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeletedAsset:
    """A deleted asset, as ``/v2/deleted_assets`` lists it.

    :ivar asset: the record as it was.
    :ivar deleted_at: seconds since the epoch, whole.
    """

    asset: EmulatedAsset
    deleted_at: int


def synthetic_assets(
    count: int, *, size_bytes: int | Callable[[int], int] = 5_000_000, seed: int = 0
) -> Iterator[EmulatedAsset]:
    """``count`` videos named ``clip-000000.mp4`` and so on; equal for equal arguments.

    Fifty assets share each second from 2013-01-01 on. Each 97th has the file name of the asset
    before it, with other bytes. The source is the first, second or third entry of ``/streams``.
    """
    for index in range(count):
        named = index - 1 if index and index % _DUPLICATE_EVERY == 0 else index
        size = size_bytes(index) if callable(size_bytes) else size_bytes
        created = _OLDEST + index // _PER_SECOND
        yield EmulatedAsset(
            embed_code=stable_embed_code(f"synthetic:{seed}:{index}"),
            title=f"Clip {index}",
            original_file_name=f"clip-{named:06d}.mp4",
            content=SyntheticContent(seed_of(f"{seed}:{index}"), size, created),
            created_at=created,
            duration_ms=size // _BYTES_PER_MS,
            source_position=index % 3,
        )


class _Version(Protocol):
    """The common part of a content and its open version: length, quoted validator, date."""

    @property
    def size(self) -> int: ...

    @property
    def etag(self) -> str: ...

    @property
    def last_modified(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Bytes ``offset`` to ``offset + length``, fewer at the end."""


class OpenContent(_Version, Protocol):
    """One version, open for reading. Close it; methods may be called from any thread."""

    @property
    def file(self) -> io.FileIO | None:
        """The file with these bytes at the same offsets; None if there is none."""

    def close(self) -> None:
        """Close the descriptor, if there is one."""


class Content(_Version, Protocol):
    """The source object of an asset, as it is now. Thread-safe."""

    def open(self) -> OpenContent:
        """Open the current version.

        :raises OSError: the bytes are gone.
        """


class _FixedContent:
    """A content that never changes; it is also its open version."""

    __slots__ = ()

    @property
    def file(self) -> None:
        return

    def open(self: Fixed) -> Fixed:
        """The content itself."""
        return self

    def close(self) -> None:
        """Do nothing: there is no descriptor."""


@dataclass(frozen=True, slots=True)
class BytesContent(_FixedContent):
    """Bytes in memory.

    :ivar data: the object.
    :ivar last_modified: seconds since the epoch.
    """

    data: bytes
    last_modified: int = _OLDEST

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def etag(self) -> str:
        """MD5 of the bytes and the date, so the same bytes uploaded later are a new version."""
        digest = hashlib.md5(self.data, usedforsecurity=False)
        digest.update(self.last_modified.to_bytes(8, "big", signed=True))
        return f'"{digest.hexdigest()}"'

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + max(0, length)]


@dataclass(frozen=True, slots=True)
class SyntheticContent(_FixedContent):
    """An object of any size whose bytes are computed when they are read.

    :ivar seed: decides the bytes; two assets with the same seed and size are duplicates.
    :ivar size: length in bytes.
    :ivar last_modified: seconds since the epoch.
    """

    seed: int
    size: int
    last_modified: int = _OLDEST

    @property
    def etag(self) -> str:
        """A validator computed from seed, size and date."""
        return _multipart_etag(f"{self.seed}:{self.size}:{self.last_modified}")

    def read(self, offset: int, length: int) -> bytes:
        """The bytes, computed; hundreds of MB/s."""
        return synthetic_bytes(self.seed, offset, min(length, self.size - offset))


@dataclass(frozen=True, slots=True)
class FileContent:
    """A regular file, opened again for every request; its ETag is computed from size and mtime.

    :ivar path: path of the file.
    :ivar not_before: lower limit of ``last_modified``, because a replacement must be newer.
    :ivar folder: the media folder of the file. The file is opened below this folder, which decides
        whether links are followed. None: the file is opened at ``path``, and links are followed.
    """

    path: Path
    not_before: int = 0
    folder: MediaFolder | None = None

    @property
    def size(self) -> int:
        """The current length in bytes; 0 if the file is gone."""
        status = self._stat()
        return status.st_size if status else 0

    @property
    def etag(self) -> str:
        """The current validator of the file.

        :raises OSError: the file cannot be opened.
        """
        with self.open() as opened:
            return opened.etag

    @property
    def last_modified(self) -> int:
        """The file's mtime in whole seconds; ``not_before`` if the file is gone."""
        status = self._stat()
        return max(self.not_before, modified_at(status)) if status else self.not_before

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file as it is now.

        :raises OSError: when it cannot be read.
        """
        with self.open() as opened:
            return opened.read(offset, length)

    def open(self) -> OpenFile:
        """Open the current version; its descriptor refers to it even if the file is replaced.

        :raises OSError: the file cannot be opened, or is not a regular file.
        """
        if self.folder is None:
            descriptor = open_regular_file(self.path, follow=True)
        else:
            descriptor = self.folder.open(self.path.relative_to(self.folder.path).as_posix())
        return OpenFile(io.FileIO(descriptor, "rb"), self.not_before)

    def _stat(self) -> os.stat_result | None:
        try:
            if self.folder is not None:
                return self.folder.stat(self.path.relative_to(self.folder.path).as_posix())
            status = self.path.stat()
        except OSError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None


class OpenFile:
    """An open file, with its size, ETag and date at the time it was opened."""

    __slots__ = ("_mtime_ns", "etag", "file", "last_modified", "size")

    def __init__(self, file: io.FileIO, not_before: int) -> None:
        """Take over ``file``."""
        status = os.fstat(file.fileno())
        self.file = file
        self.size = status.st_size
        self._mtime_ns = status.st_mtime_ns
        self.last_modified = max(not_before, modified_at(status))
        self.etag = _multipart_etag(
            f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{not_before}"
        )

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the open file, as it was when it was opened; fewer if it was changed since.

        :raises OSError: when it cannot be read.
        """
        wanted = min(length, self.size - offset)
        parts: list[bytes] = []
        while wanted > 0:
            part = os.pread(self.file.fileno(), wanted, offset)
            if not part:  # the file was truncated: the answer is short
                break
            parts.append(part)
            offset += len(part)
            wanted -= len(part)
        status = os.fstat(self.file.fileno())
        if (status.st_mtime_ns, status.st_size) != (self._mtime_ns, self.size):
            return b""  # these may be bytes of another version, which has another ETag
        return b"".join(parts)

    def close(self) -> None:
        self.file.close()


def modified_at(status: os.stat_result) -> int:
    """The mtime of a file in whole seconds, limited to the years 1 to 9999."""
    return min(max(int(status.st_mtime), FIRST_SECOND), LAST_SECOND)


def _multipart_etag(identity: str) -> str:
    """An ETag in the form of S3's multi-part uploads; it is not the MD5 of the bytes."""
    return f'"{hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()}-1"'


def seed_of(identity: str) -> int:
    """A seed that depends on ``identity`` alone."""
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def synthetic_bytes(seed: int, offset: int, length: int) -> bytes:
    """``length`` bytes from ``offset`` of the infinite object of ``seed``. Pure.

    :raises ValueError: the offset is negative.
    """
    if offset < 0:
        raise ValueError(f"an offset is not negative: {offset}")
    if length <= 0:
        return b""
    noise = memoryview(_noise(seed))
    first, last = offset // CHUNK_BYTES, (offset + length - 1) // CHUNK_BYTES
    base = first * CHUNK_BYTES
    out = bytearray((last - first + 1) * CHUNK_BYTES)
    for index in range(first, last + 1):
        at = index * CHUNK_BYTES - base
        turn = index * _STRIDE % CHUNK_BYTES
        out[at : at + CHUNK_BYTES] = noise[turn : turn + CHUNK_BYTES]
        for page in range(at, at + CHUNK_BYTES, _PAGE_BYTES):
            _STAMP.pack_into(out, page, index)
    start = offset - base
    return bytes(memoryview(out)[start : start + length])


@lru_cache(maxsize=64)  # 128 KiB each; more would only help when 64 assets are read at once
def _noise(seed: int) -> bytes:
    """The noise of ``seed``, twice in a row, so that every rotation is one slice."""
    once = hashlib.shake_128(b"backlot emulator %d" % seed).digest(CHUNK_BYTES)
    return once + once
