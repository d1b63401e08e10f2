# SPDX-License-Identifier: Apache-2.0
"""Naming gives each asset a unique, legal file name, for the mount, ``ls`` and ``info``.

The name is ``original_file_name``, of which only the last component is used if it is a path on a
client. An asset without one gets its title, or else its embed code. Characters that a file name
cannot contain are replaced by the look-alikes that rclone uses, so that a copy by rclone restores
the name. Names are NFC and have at most `MAX_NAME_BYTES` bytes of UTF-8; a long name is cut before
its extension. All names differ, and an asset keeps the name that it was given.

Three modes (``--names``) differ in the allowed names and in when two names are the same (`key`):

``original``
    The file name as it was uploaded. Of several assets with the same name the oldest keeps it;
    the others get `` [embed_code]`` before the extension.
``always-id``
    Every name has `` [embed_code]``. The name depends only on the asset, so it is the same on
    all hosts.
``portable``
    Like ``original``, but legal on Windows and SMB, and unique when case is ignored.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from hashlib import blake2b
from typing import Protocol
from urllib.parse import quote_from_bytes

from backlotfs.catalog.db.names import Naming
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.config.settings import NameMode

#: The longest file name of the kernel, ext4, XFS and APFS, in bytes of UTF-8.
MAX_NAME_BYTES = 255

#: `C:\dir\`, `\\server\share\`, `/Users/me/`: some browsers and FTP clients send a whole path.
_CLIENT_PATH = re.compile(r"\A(?:(?:[A-Za-z]:|\\)[\\/].*[\\/]|[A-Za-z]:[\\/]|/(?:.*/)?)", re.DOTALL)
#: Control characters to their pictures (U+2400 …), "/" to fullwidth: rclone's encoding.
#: Terminals also obey C1 controls (0x80 to 0x9F), which become the pictures of C0 controls.
_LOOK_ALIKES = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x80 + code: 0x2400 + code for code in range(0x20)}
    | {0x7F: 0x2421, ord("/"): 0xFF0F}
)
_DOT_NAMES = {".": "\uff0e", "..": "\uff0e\uff0e"}
#: An extension is short and plain; "Dr. Strangelove and the rest" has none.
_EXTENSION = re.compile(r"(?<=.)(\.[A-Za-z0-9_-]{1,16})\Z", re.DOTALL)
#: The form of real ids.
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: Characters that are harmless in a tag; brackets, dots and percent signs are delimiters.
_SAFE_IN_TAGS = "!#$&'()+,;=@^`{}~"
#: Leaves more than 100 of 255 bytes for the stem.
_MAX_TAG_LENGTH = 128
#: rclone's encoding for Windows: fullwidth forms.
_FORBIDDEN = {ord(char): ord(char) + 0xFEE0 for char in '<>:"|?*\\'}
#: rclone's encoding of characters that Windows removes at the end of a name.
_LAST = {".": "\uff0e", " ": "\u2420"}
#: Names that Windows takes for devices, with any extension and with spaces before it.
_DEVICE = re.compile(
    r"\A(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|(?:COM|LPT)[0-9¹²³])(?= *(?:\.|\Z))",
    re.IGNORECASE,
)
#: One expression for all rules, because nearly every name is portable already.
_NOT_PORTABLE = re.compile(rf'[<>:"|?*\\]|[. ]\Z|{_DEVICE.pattern}', re.IGNORECASE)


class Named(Protocol):
    """The fields that a name is made from, such as those of an `api.records.Asset`."""

    @property
    def embed_code(self) -> str:
        """The embed code."""

    @property
    def title(self) -> str:
        """The title; may be empty."""

    @property
    def original_file_name(self) -> str | None:
        """The name of the file when it was uploaded."""

    @property
    def created_at_s(self) -> int:
        """The creation time in seconds since the epoch."""


def assign(mode: NameMode, newcomers: Iterable[Named], taken: Container[str]) -> dict[str, str]:
    """Name assets that have no name yet; return the names by embed code.

    :param newcomers: in any order; the oldest (`age_key`) is named first.
    :param taken: the `key` of every name given before; these names are not given again.
    """
    if mode is NameMode.ALWAYS_ID:
        return {asset.embed_code: wanted(mode, asset) for asset in newcomers}
    names: dict[str, str] = {}
    everything = _TakenOrGiven(taken)
    for asset in sorted(newcomers, key=age_key):
        name = distinct(mode, wanted(mode, asset), asset.embed_code, everything)
        names[asset.embed_code] = name
        everything.given.add(key(mode, name))
    return names


def names_for(mode: NameMode, assets: Iterable[Named], given: Mapping[str, str]) -> dict[str, str]:
    """The names of all assets of a library by embed code.

    :param given: names given before; they stay, and no other asset gets them.
    """
    assets = list(assets)
    names = {a.embed_code: given[a.embed_code] for a in assets if a.embed_code in given}
    taken = {key(mode, name) for name in given.values()}
    return names | assign(mode, (a for a in assets if a.embed_code not in names), taken)


def catalog_naming(mode: NameMode) -> Naming:
    """Make the `Naming` of a catalog for a mode."""
    return Naming(
        mode,
        lambda nameless, taken: assign(mode, nameless, taken),
        key_of=lambda name: key(mode, name),
    )


def age_key(asset: Named | AssetRow) -> tuple[int, str]:
    """The sort key of assets: of two with the same name, the first keeps it."""
    return asset.created_at_s, asset.embed_code


def wanted(mode: NameMode, asset: Named) -> str:
    """The name of an asset in this mode, if no other asset has it."""
    name = base_name(asset)
    if mode is NameMode.ALWAYS_ID:
        return fit(name, f" [{tag(asset.embed_code)}]")
    return portable(name) if mode is NameMode.PORTABLE else name


def key(mode: NameMode, name: str) -> str:
    """The key of a name; two names with the same key cannot be in one folder."""
    if mode is not NameMode.PORTABLE:
        return name
    if name.isascii():
        return name.lower()
    # case folding can decompose a character
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def legal(mode: NameMode, text: str) -> str:
    """Convert ``text`` to a name that the mode allows; may be empty."""
    name = legal_name(text)
    return portable(name) if mode is NameMode.PORTABLE else name


def distinct(mode: NameMode, name: str, identifier: str, taken: Container[str]) -> str:
    """Return ``name``, with `` [identifier]`` before the extension if its key is taken.

    :param name: a legal name in this mode.
    """
    if key(mode, name) not in taken:
        return name
    suffix = f" [{tag(identifier)}]"
    # a second round is needed only if a file with exactly this name was uploaded
    more = itertools.chain(["", "_"], (f"_{number}" for number in itertools.count(2)))
    candidates = (fit(name, suffix + end) for end in more)
    return next(candidate for candidate in candidates if key(mode, candidate) not in taken)


def tag(identifier: str) -> str:
    """The form of an embed code or label id in names: unchanged unless it has odd characters.

    Different ids have different tags, and no tag contains a bracket or a dot. So the text in the
    last brackets of a name, or before its first dot, identifies the asset.
    """
    if _PLAIN_ID.fullmatch(identifier):
        return identifier
    raw = identifier.encode("utf-8", "surrogatepass")
    quoted = quote_from_bytes(raw, _SAFE_IN_TAGS).replace(".", "%2E")
    if len(quoted) <= _MAX_TAG_LENGTH:
        return quoted
    # quoting never gives two percent signs in a row, so no other id has this tag
    return "%%" + blake2b(raw, digest_size=16).hexdigest()


def portable(name: str) -> str:
    """Convert a legal ``name`` to one that Windows allows too.

    255 bytes of UTF-8 are never more than 255 UTF-16 units, the limit of Windows.
    """
    if not _NOT_PORTABLE.search(name):
        return name
    name = fit(name.translate(_FORBIDDEN))
    while True:
        # one rule can make another one necessary
        if _DEVICE.match(name):
            # no look-alikes for letters: Windows converts them back for ANSI programs
            name = fit(_DEVICE.sub(r"\1_", name))
        elif name.endswith(tuple(_LAST)):
            name = fit(name[:-1] + _LAST[name[-1]])
        else:
            return name


def base_name(asset: Named) -> str:
    """The name of an asset in the mode ``original``, if no other asset has it."""
    uploaded = _CLIENT_PATH.sub("", asset.original_file_name or "", count=1)
    for candidate in (uploaded, asset.title, asset.embed_code):
        name = legal_name(candidate)
        if name:
            return name
    return asset.embed_code


def legal_name(text: str) -> str:
    """Convert ``text`` to a legal file name in NFC, cut to the longest length; may be empty."""
    # A lone surrogate cannot be encoded in UTF-8.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = fit(unicodedata.normalize("NFC", text).translate(_LOOK_ALIKES))
    return _DOT_NAMES.get(text, text)  # last, because a cut may leave only dots


def fit(name: str, suffix: str = "") -> str:
    """Insert ``suffix`` before the extension of ``name``; cut the stem to the longest length."""
    match = _EXTENSION.search(name)
    extension = match.group(1) if match else ""
    stem = name[: len(name) - len(extension)]
    room = MAX_NAME_BYTES - len((suffix + extension).encode())
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode("utf-8", "ignore").rstrip()
    return stem + suffix + extension


class _TakenOrGiven:
    """The taken keys and the newly given ones, without a copy of the taken ones."""

    def __init__(self, taken: Container[str]) -> None:
        self._taken = taken
        self.given: set[str] = set()

    def __contains__(self, key: object) -> bool:
        return key in self.given or key in self._taken
