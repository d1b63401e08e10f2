"""Assets to unique, legal file names. Pure.

Rules (README, "Names"). The name is ``original_file_name``; a full client path keeps its last
component; the title, else the embed code, stands in for a missing name. Characters that no file
name can hold become the look-alikes that rclone uses, so that a name survives a round trip between
the two. Names are NFC and at most `MAX_NAME_BYTES` bytes of UTF-8, the extension kept. Of assets
with the same name the oldest keeps it; each other gets `` [embed_code]`` before the extension. A
name that was given stays with its asset.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Protocol

#: What ext4, XFS, APFS and the kernel's own limit agree on, in bytes of UTF-8.
MAX_NAME_BYTES = 255

#: `C:\dir\`, `\\server\share\`, `/Users/me/`: what some browsers and FTP clients put before it.
_CLIENT_PATH = re.compile(r"\A(?:(?:[A-Za-z]:|\\)[\\/].*[\\/]|[A-Za-z]:[\\/]|/(?:.*/)?)", re.DOTALL)
#: Control characters to their pictures (U+2400 …), "/" to fullwidth: rclone's encoding.
#: Terminals obey C1 controls as well (0x80 to 0x9F): they get the pictures of their C0 fellows.
_LOOK_ALIKES = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x80 + code: 0x2400 + code for code in range(0x20)}
    | {0x7F: 0x2421, ord("/"): 0xFF0F}
)
_DOT_NAMES = {".": "\uff0e", "..": "\uff0e\uff0e"}
#: An extension is short and plain; "Dr. Strangelove and the rest" has none.
_EXTENSION = re.compile(r"(?<=.)(\.[A-Za-z0-9_-]{1,16})\Z", re.DOTALL)


class Named(Protocol):
    """What a name is made from: an `api.records.Asset`."""

    @property
    def embed_code(self) -> str:
        """The id."""

    @property
    def title(self) -> str:
        """What people call it; may be empty."""

    @property
    def original_file_name(self) -> str | None:
        """What the file was called when it was uploaded."""

    @property
    def created_at_s(self) -> int:
        """Seconds since the epoch."""


def base_name(asset: Named) -> str:
    """The name an asset has when no other wants the same."""
    uploaded = _CLIENT_PATH.sub("", asset.original_file_name or "", count=1)
    for candidate in (uploaded, asset.title, asset.embed_code):
        name = legal_name(candidate)
        if name:
            return name
    return asset.embed_code


def legal_name(text: str) -> str:
    """``text`` as a file name: look-alikes for what is forbidden, NFC, cut to fit; may be empty."""
    # A surrogate is a byte that was not UTF-8, or half a character: nothing can show it.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = fit(unicodedata.normalize("NFC", text).translate(_LOOK_ALIKES))
    return _DOT_NAMES.get(text, text)  # last: a cut may leave nothing but dots


def fit(name: str, suffix: str = "") -> str:
    """``name`` with ``suffix`` before its extension, the stem cut so that all fits."""
    match = _EXTENSION.search(name)
    extension = match.group(1) if match else ""
    stem = name[: len(name) - len(extension)]
    room = MAX_NAME_BYTES - len((suffix + extension).encode())
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode("utf-8", "ignore").rstrip()
    return stem + suffix + extension


def age_key(asset: Named) -> tuple[int, str]:
    """Sort key: who keeps a contested name comes first."""
    return asset.created_at_s, asset.embed_code
