"""A compressed body, taken apart without ever holding more than was allowed. Pure.

A few kilobytes of gzip can be gigabytes of zeros, and several encodings one inside the other can
be more than any memory. So one encoding is understood, the one that is asked for, and it is
unpacked only as far as there is room.
"""

from __future__ import annotations

import zlib

_GZIP_WBITS = 31
_KNOWN = {"": False, "identity": False, "gzip": True, "x-gzip": True}


class BodyTooLarge(Exception):
    """More than the limit, after decompression."""


class UnknownEncoding(Exception):
    """An encoding that was not asked for."""


class BoundedBody:
    """Collects a body piece by piece; one thread's."""

    def __init__(self, content_encoding: str | None, limit_bytes: int) -> None:
        """Nothing is collected yet.

        :raises UnknownEncoding: anything but gzip or none, in particular several.
        """
        encoding = (content_encoding or "").strip().lower()
        if encoding not in _KNOWN:
            raise UnknownEncoding(encoding)
        self._unzip = zlib.decompressobj(_GZIP_WBITS) if _KNOWN[encoding] else None
        self._limit_bytes = limit_bytes
        self._body = bytearray()
        self._begun = False

    def feed(self, piece: bytes) -> None:
        """Take the next bytes as they came.

        :raises BodyTooLarge: what is unpacked exceeds the limit; at most one byte more is held.
        :raises zlib.error: damaged.
        """
        self._begun = True
        room = self._limit_bytes - len(self._body) + 1
        if self._unzip is not None:
            if self._unzip.eof:
                return  # zlib would keep all that follows the end, and copy it each time
            # never 0, which would mean "no limit"
            piece = self._unzip.decompress(piece, room)
        self._body += piece[:room]
        if len(self._body) > self._limit_bytes:
            raise BodyTooLarge

    def whole(self) -> bytes:
        """What was collected, once no more comes.

        :raises zlib.error: it ends in the middle of the compressed data.
        """
        if self._begun and self._unzip is not None and not self._unzip.eof:
            raise zlib.error("the compressed body ends early")
        return bytes(self._body)
