"""The thumbnails of a user: ``~/.cache/thumbnails``, by size and by the md5 of the file's URI.

A thumbnail holds for one modification time of its file: it is good as long as the ``Thumb::MTime``
in it is what ``stat`` says. Others write here too, so each file comes about whole, by a rename.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from backlotfs.errors import BacklotError
from backlotfs.thumbnails.picture import Picture, png_texts
from backlotfs.thumbnails.uri import file_uri, thumbnail_name
from backlotfs.trusted_paths import open_folder

#: Name of a size → the edge of the square that it fits in, in pixels.
SIZES = {"normal": 128, "large": 256, "x-large": 512, "xx-large": 1024}
#: Where a thumbnail of ours is looked at: its texts come first.
_HEAD_BYTES = 64 * 1024


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
        """As file managers spell it."""
        return file_uri(self.path)

    def texts(self, software: str) -> dict[str, str]:
        """What the standard has written into a thumbnail."""
        said = {
            "Thumb::URI": self.uri,
            "Thumb::MTime": str(self.mtime_s),
            "Thumb::Size": str(self.size),
            "Software": software,
        }
        return said if self.mime_type is None else said | {"Thumb::Mimetype": self.mime_type}


class ThumbnailCache:
    """Any thread may call it; so may other programs, at the same time."""

    def __init__(self, folder: Path, sizes: Iterable[str], *, software: str) -> None:
        """``sizes``: those that are kept, of `SIZES`."""
        self._folder = folder
        self._sizes = tuple(sizes)
        self._software = software

    def holds(self, original: Original) -> bool:
        """Whether every size is there, and of this version of the file."""
        return all(self._is_current(size, original) for size in self._sizes)

    def keep(self, original: Original, picture: Picture) -> None:
        """Put ``picture`` there in every size.

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
            # 0600, as the standard wants it: who may not read the file may not see its picture.
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
    """An opener: a FIFO in the place of a thumbnail is no thumbnail, and stops nobody."""
    return os.open(path, flags | os.O_NONBLOCK)
