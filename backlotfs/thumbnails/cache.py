# SPDX-License-Identifier: Apache-2.0
"""The thumbnails of a user: ``~/.cache/thumbnails``, by size and by the MD5 of the file's URI.

A thumbnail is valid as long as its text ``Thumb::MTime`` equals the modification time of the file.
Other programs write to this folder too, so each thumbnail is written to a temporary file, which is
then renamed.
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

#: Name of a size to the edge of the square that a thumbnail of this size fits into, in pixels.
SIZES = {"normal": 128, "large": 256, "x-large": 512, "xx-large": 1024}
#: Bytes of a thumbnail that are read: its texts are at the start.
_HEAD_BYTES = 64 * 1024
#: The characters besides letters and digits that GLib (``g_filename_to_uri``) does not escape.
_PLAIN = "!$&'()*+,-./:=@_~"


def file_uri(path: str) -> str:
    """The URI of an absolute path, as GLib writes it; another form would give another file name."""
    return "file://" + quote_from_bytes(os.fsencode(path), safe=_PLAIN)


def relative_uris(name: str) -> tuple[str, str]:
    """The URIs of a file in the shared repository of its folder; the current form is the first.

    In version 0.8.0 of the standard, and in Xfce 4.18, the URI is the name alone. In later versions
    ``./`` precedes the name.
    """
    # The names in a mount are UTF-8 in every locale.
    quoted = quote_from_bytes(name.encode("utf-8", "surrogateescape"), safe=_PLAIN)
    return f"./{quoted}", quoted


def thumbnail_name(uri: str) -> str:
    """The file name of the thumbnails of a URI."""
    return hashlib.md5(uri.encode("ascii"), usedforsecurity=False).hexdigest() + ".png"


@dataclass(frozen=True, slots=True)
class Original:
    """The file that a thumbnail shows.

    :ivar path: the absolute path. :ivar mtime_s: in whole seconds. :ivar size: in bytes.
    """

    path: str
    mtime_s: int
    size: int
    mime_type: str | None = None

    @property
    def uri(self) -> str:
        """The URI as file managers write it."""
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
    """Reads and writes a user's thumbnails, as other programs may do. Any thread may call it."""

    def __init__(self, folder: Path, sizes: Iterable[str], *, software: str) -> None:
        """:param sizes: names from `SIZES`: the sizes that are written."""
        self._folder = folder
        self._sizes = tuple(sizes)
        self._software = software

    def holds(self, original: Original) -> bool:
        """Whether the cache has a valid thumbnail of the file in every size."""
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
            # The standard requires mode 0600: other users may not be allowed to read the file.
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
    """An opener that does not wait for a writer if the path is a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)
