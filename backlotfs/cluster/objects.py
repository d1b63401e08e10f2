# SPDX-License-Identifier: Apache-2.0
"""Writes objects below a URL of fsspec, and reads them back.

`Objects.write` gives an object its name only when it is complete. Object stores always do so; for
other stores fsspec does it by writes that are committed (``autocommit=False``). Listings are not
cached, because other processes write too.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import fsspec
from cachetools import LRUCache

from backlotfs.cluster.tasks import Made, WrittenRange
from backlotfs.config.settings import MIB
from backlotfs.errors import BacklotError, SettingsError
from backlotfs.log.redaction import redacted

#: The most bytes of one read.
PIECE_BYTES = 8 * MIB
#: The most characters of the reason for a failure.
_MOST_REASON = 300
#: Schemes without folders: no folder has to be made before an object is written.
_WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss", "memory"})


class ObjectDiffers(BacklotError):
    """An object does not have the bytes that were written to it."""


class ObjectState(NamedTuple):
    """Size and time of an object, as the store shows them."""

    size_bytes: int
    mtime_ns: int


class Objects:
    """The objects below one URL. Any thread may use it.

    :ivar url: without a slash at its end.
    :ivar multipart: the store takes parts of one object from several processes.
    """

    def __init__(self, url: str) -> None:
        """Make the file system of the URL; nothing is sent yet.

        :raises SettingsError: the scheme is not known or not usable, or its package is missing.
        """
        self.url = url.rstrip("/")
        self._threads = threading.local()
        try:
            fs, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, TypeError, ImportError) as error:
            raise SettingsError(_unusable(self.url, error)) from None
        self._shared = fs if getattr(fs, "async_impl", False) else None
        self._threads.fs = fs
        self._kind = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
        if "file" in self._kind:
            raise SettingsError(_unusable(self.url, ValueError("it is no URL of a store")))
        self.multipart = "s3" in self._kind

    @property
    def fs(self) -> Any:
        """The file system. Each thread has its own, unless the file system is asynchronous."""
        if self._shared is not None:
            return self._shared
        if not hasattr(self._threads, "fs"):
            self._threads.fs, _ = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        return self._threads.fs

    def path(self, name: str) -> str:
        """The path of an object, as the file system has it."""
        return f"{self.root.rstrip('/')}/{name}"

    def put(self, name: str, data: bytes) -> None:
        """Write a small object. :raises OSError: it is not written."""
        self._make_folder(name)
        self.fs.pipe_file(self.path(name), data)

    def get(self, name: str) -> bytes | None:
        """All bytes of a small object; None: there is none. :raises OSError: it cannot be read."""
        try:
            data: bytes = self.fs.cat_file(self.path(name))
        except FileNotFoundError:
            return None
        return data

    def remove(self, name: str) -> None:
        """Remove an object, if it is there. :raises OSError: it cannot be removed."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def look(self, name: str) -> ObjectState | None:
        """Size and time of an object; None: there is none. :raises OSError: no answer."""
        try:
            info = self.fs.info(self.path(name))
        except FileNotFoundError:
            return None
        if info["type"] != "file":
            return None
        return ObjectState(int(info["size"] or 0), modified_ns(info))

    def names(self, folder: str) -> list[str]:
        """The names of the objects in a folder, sorted. :raises OSError: they cannot be listed."""
        root = self.root.rstrip("/") + "/"
        try:
            found = self.fs.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.removeprefix(root) for path in found if path.startswith(root))

    def sizes(self) -> dict[str, int]:
        """Name to size of all objects, in all folders. :raises OSError: they cannot be listed."""
        root = self.root.rstrip("/") + "/"
        found = self.fs.find(self.root, detail=True)
        return {
            path.removeprefix(root): int(info["size"] or 0)
            for path, info in found.items()
            if path.startswith(root) and path != root
        }

    def digest_of(self, name: str, size_bytes: int, moved: Callable[[int], None]) -> str:
        """SHA-256 of the first bytes of an object, in hexadecimal.

        :param moved: as for `read_back`.
        :raises OSError: it cannot be read.
        """
        digest = hashlib.sha256()
        for data in self._pieces(self.path(name), 0, size_bytes):
            digest.update(data)
            moved(len(data))
        return digest.hexdigest()

    def write(self, name: str, pieces: Iterable[memoryview]) -> WrittenRange:
        """Write an object from its pieces in order. :raises OSError: it is not written."""
        self._make_folder(name)
        digest, size_bytes = hashlib.sha256(), 0
        file = self.fs.open(self.path(name), "wb", autocommit=False)
        try:
            for piece in pieces:
                digest.update(piece)
                file.write(bytes(piece))  # a copy, because a view is valid only until the next one
                size_bytes += len(piece)
            file.close()
            file.commit()
        except BaseException:
            with contextlib.suppress(Exception):
                file.forced = True  # else closing the file would begin another upload
                file.discard()
            raise
        return WrittenRange(size_bytes, digest.hexdigest(), "")

    def read_back(
        self, name: str, ranges: Sequence[WrittenRange], moved: Callable[[int], None]
    ) -> Made:
        """Read an object, compare it with what was written, and return its digest and time.

        :param moved: called with the number of bytes of each read; an exception of it ends reading.
        :raises ObjectDiffers: the object has other bytes, or was replaced meanwhile.
        :raises OSError: the object cannot be read.
        """
        size_bytes = sum(one.size_bytes for one in ranges)
        before = self.look(name)
        if before is None or before.size_bytes != size_bytes:
            raise ObjectDiffers(_differs(f"the store does not have its {size_bytes} bytes"))
        whole, start = hashlib.sha256(), 0
        for one in ranges:
            digest = hashlib.sha256()
            for data in self._pieces(self.path(name), start, start + one.size_bytes):
                digest.update(data)
                whole.update(data)
                moved(len(data))
            if digest.hexdigest() != one.sha256:
                raise ObjectDiffers(_differs("reading it back gave other bytes than were written"))
            start += one.size_bytes
        if self.look(name) != before:
            raise ObjectDiffers(_differs("it was replaced while it was read back"))
        return Made(whole.hexdigest(), size_bytes, before.mtime_ns)

    def _pieces(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            data: bytes = self.fs.cat_file(path, start=start, end=min(start + PIECE_BYTES, stop))
            if not data:
                return  # the object is too short; the digest will differ
            yield data
            start += len(data)

    def _make_folder(self, name: str) -> None:
        if self._kind.isdisjoint(_WITHOUT_FOLDERS):
            self.fs.makedirs(os.path.dirname(self.path(name)), exist_ok=True)

    # Multipart uploads of S3.

    def begin_upload(self, name: str) -> str:
        """Begin an upload in parts, and return its id. :raises OSError: it is not begun."""
        bucket, key = self._bucket_and_key(name)
        answer = self.fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key)
        return str(answer["UploadId"])

    def upload_part(self, name: str, upload_id: str, number: int, data: bytearray) -> str:
        """Upload a part, and return the tag that the store gave it. :raises OSError: it failed."""
        bucket, key = self._bucket_and_key(name)
        answer = self.fs.call_s3(
            "upload_part",
            Bucket=bucket,
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            Body=data,
        )
        return str(answer["ETag"])

    def end_upload(self, name: str, upload_id: str, tags: Sequence[str]) -> None:
        """Make the object from its parts. :raises OSError: it is not made."""
        bucket, key = self._bucket_and_key(name)
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)]
        self.fs.call_s3(
            "complete_multipart_upload",
            Bucket=bucket,
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
        )

    def abort_upload(self, name: str, upload_id: str) -> None:
        """Abort an upload. Until then its parts cost money. :raises OSError: it is not aborted."""
        bucket, key = self._bucket_and_key(name)
        with contextlib.suppress(FileNotFoundError):
            self.fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)

    def _bucket_and_key(self, name: str) -> tuple[str, str]:
        bucket, key, _ = self.fs.split_path(self.path(name))
        return bucket, key


_opened: LRUCache[tuple[int, str], Objects] = LRUCache(64)
_opening = threading.Lock()


def objects_at(url: str) -> Objects:
    """The `Objects` of a URL, shared by this process. :raises SettingsError: see `Objects`."""
    with _opening:
        key = os.getpid(), url
        if key not in _opened:
            _opened[key] = Objects(url)
        found: Objects = _opened[key]
        return found


def modified_ns(info: dict[str, Any]) -> int:
    """The time of an object in what its store shows; 0 if it shows none."""
    for name in ("LastModified", "mtime", "updated", "last_modified", "created"):
        match info.get(name):
            case datetime.datetime() as moment:
                return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
            case int() | float() as seconds:
                return int(seconds * 10**9)
            case str() as text:
                with contextlib.suppress(ValueError):
                    moment = datetime.datetime.fromisoformat(text)
                    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
    return 0


def reason_of(error: BaseException | None) -> str:
    """Why an operation on a store or disk failed, in one line without secrets."""
    return redacted(f"{type(error).__name__}: {' '.join(str(error).split())}")[:_MOST_REASON]


def _differs(what: str) -> str:
    return f"{what}: check the store, and that nothing else writes there"


def _unusable(url: str, error: Exception) -> str:
    scheme = url.partition("://")[0]
    if isinstance(error, ImportError):
        return f"{scheme}:// needs a package that is missing ({error}); install it for fsspec"
    return (
        f"DEST {scheme}:// cannot be used ({' '.join(str(error).split())}); "
        "write a folder, or s3://BUCKET/PATH, gs://BUCKET/PATH …"
    )
