# SPDX-License-Identifier: Apache-2.0
"""The thumbnails of a user: ``~/.cache/thumbnails``, by size and by the md5 of the file's URI.

A thumbnail is valid for one modification time of its file: as long as the ``Thumb::MTime`` in it is
what ``stat`` says. Other programs write here too, so each file is written whole and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

from backlotfs.errors import BacklotError
from backlotfs.thumbnails.picture import Picture, png_texts
from backlotfs.trusted_paths import open_folder

#: Name of a size → the edge of the square that it fits in, in pixels.
SIZES = {"normal": 128, "large": 256, "x-large": 512, "xx-large": 1024}
#: Of a thumbnail only this much is read: its texts come first.
_HEAD_BYTES = 64 * 1024
#: What GLib (``g_filename_to_uri``) leaves as it is, beside letters and digits; `quote` adds ``~``.
_PLAIN = "!$&'()*+,-./:=@_~"


def file_uri(path: str) -> str:
    """The URI of an absolute path, as GLib spells it: another spelling has another name."""
    return "file://" + quote_from_bytes(os.fsencode(path), safe=_PLAIN)


def relative_uris(name: str) -> tuple[str, str]:
    """The URIs of a file in the shared repository of its folder; the latest spelling first.

    Version 0.8.0 of the standard, and Xfce 4.18, have the name alone; since then it follows ``./``.
    """
    # a mount's names are in UTF-8, whatever its locale is
    quoted = quote_from_bytes(name.encode("utf-8", "surrogateescape"), safe=_PLAIN)
    return f"./{quoted}", quoted


def thumbnail_name(uri: str) -> str:
    """The file name of the thumbnails of a URI."""
    return hashlib.md5(uri.encode("ascii"), usedforsecurity=False).hexdigest() + ".png"


@dataclass(frozen=True, slots=True)
class Original:
    """The file that a thumbnail is of.

    :ivar path: absolute. :ivar mtime_s: whole seconds. :ivar size: in bytes.
    """

    path: str
    mtime_s: int
    size: int
    mime_type: str | None = None

    @property
    def uri(self) -> str:
        """The URI as file managers spell it."""
        return file_uri(self.path)

    def texts(self, software: str) -> dict[str, str]:
        """The texts that the standard requires in a thumbnail."""
        said = {
            "Thumb::URI": self.uri,
            "Thumb::MTime": str(self.mtime_s),
            "Thumb::Size": str(self.size),
            "Software": software,
        }
        return said if self.mime_type is None else said | {"Thumb::Mimetype": self.mime_type}


class ThumbnailCache:
    """Reads and writes a user's thumbnails. Any thread may call it, while other programs write."""

    def __init__(self, folder: Path, sizes: Iterable[str], *, software: str) -> None:
        """:param sizes: the sizes of `SIZES` that are written."""
        self._folder = folder
        self._sizes = tuple(sizes)
        self._software = software

    def holds(self, original: Original) -> bool:
        """Whether the cache has every size for this version of the file."""
        return all(self._is_current(size, original) for size in self._sizes)

    def keep(self, original: Original, picture: Picture) -> None:
        """Write ``picture`` in every size.

        :raises BacklotError: the folder cannot be written.
        """
        texts = original.texts(self._software)
        for size in self._sizes:
            png = picture.png(SIZES[size], texts)
            try:
                self._write(self._path(size, original), png)
            except OSError as error:
                raise BacklotError(
                    f"{self._folder} cannot be written: {error.strerror}; is there room, and is "
                    "it yours? XDG_CACHE_HOME names another cache"
                ) from None

    def _is_current(self, size: str, original: Original) -> bool:
        try:
            with open(self._path(size, original), "rb", opener=_without_waiting) as file:
                texts = png_texts(file.read(_HEAD_BYTES))
        except OSError:
            return False
        uri, mtime = texts.get("Thumb::URI"), texts.get("Thumb::MTime")
        return (uri, mtime) == (original.uri, str(original.mtime_s))

    def _path(self, size: str, original: Original) -> Path:
        return self._folder / size / thumbnail_name(original.uri)

    def _write(self, path: Path, png: bytes) -> None:
        folder = open_folder(path.parent, make=True)
        try:
            # 0600, as the standard wants: who may not read the file may not see its picture
            place = f"/proc/self/fd/{folder}"
            number, made = tempfile.mkstemp(prefix=".backlotfs-", suffix=".png", dir=place)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(png)
                os.replace(made, f"{place}/{path.name}")
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(made)
                raise
        finally:
            os.close(folder)


def _without_waiting(path: str, flags: int) -> int:
    """An opener that does not wait for the writer of a FIFO in the place of a thumbnail."""
    return os.open(path, flags | os.O_NONBLOCK)
