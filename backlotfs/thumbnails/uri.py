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


def relative_uris(name: str) -> tuple[str, str]:
    """What a file is called in the shared repository of its folder; the latest spelling first.

    Version 0.8.0 of the standard, and Xfce 4.18, have the name alone; since then it follows ``./``.
    """
    quoted = quote_from_bytes(os.fsencode(name), safe=_PLAIN)
    return f"./{quoted}", quoted


def thumbnail_name(uri: str) -> str:
    """What its thumbnails are called."""
    return hashlib.md5(uri.encode("ascii"), usedforsecurity=False).hexdigest() + ".png"
