"""The URI of a file as file managers spell it: a thumbnail's name is made from it. Pure."""

from __future__ import annotations

import hashlib
import os
from urllib.parse import quote_from_bytes

#: What GLib (``g_filename_to_uri``) leaves as it is, beside letters and digits; `quote` adds ``~``.
_PLAIN = "!$&'()*+,-./:=@_~"


def file_uri(path: str) -> str:
    """Of an absolute path, percent-encoded as GLib does; other spellings are other thumbnails."""
    return "file://" + quote_from_bytes(os.fsencode(path), safe=_PLAIN)


def thumbnail_name(uri: str) -> str:
    """What its thumbnails are called."""
    return hashlib.md5(uri.encode("ascii"), usedforsecurity=False).hexdigest() + ".png"
