"""Assets to unique, legal file names: the names of the mount, of ``ls`` and of ``info``.

The name is ``original_file_name``; a full client path keeps its last component; the title, else the
embed code, stands in for a missing name. Characters that no file name can hold become the
look-alikes that rclone uses, so that a name survives a round trip between the two. Names are NFC
and at most `MAX_NAME_BYTES` bytes of UTF-8, the extension kept. All are different, and a name that
was given stays with its asset.

Three modes (``--names``) differ in what a name may be and in what makes two names the same (`key`):

``original``
    The file name as it was uploaded. The oldest of several assets keeps a contested one, each
    other gets `` [embed_code]`` before the extension.
``always-id``
    Every name has `` [embed_code]``. It is a function of the asset alone: two hosts agree,
    whatever each has seen before.
``portable``
    As ``original``, but fit for Windows and SMB, and different without regard to case.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Protocol
from urllib.parse import quote_from_bytes

from backlotfs.catalog.db.names import Naming
from backlotfs.catalog.db.rows import AssetRow

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
#: What every real id is made of.
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: Harmless in every file name; brackets, dots and percent signs are not, they delimit.
_SAFE_IN_TAGS = "!#$&'()+,;=@^`{}~"
#: Leaves more than 100 bytes of 255 for the stem, beside brackets and extension.
_MAX_TAG_LENGTH = 128
#: rclone's encoding for Windows: fullwidth forms.
_FORBIDDEN = {ord(char): ord(char) + 0xFEE0 for char in '<>:"|?*\\'}
#: Windows drops these at the end of a name; rclone's encoding again.
_LAST = {".": "\uff0e", " ": "\u2420"}
#: Windows takes them for devices with any extension, and with spaces before it.
_DEVICE = re.compile(
    r"\A(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|(?:COM|LPT)[0-9¹²³])(?= *(?:\.|\Z))",
    re.IGNORECASE,
)
#: One look for all of it: nearly every name is fine as it is.
_NOT_PORTABLE = re.compile(rf'[<>:"|?*\\]|[. ]\Z|{_DEVICE.pattern}', re.IGNORECASE)


class NameMode(StrEnum):
    """What ``--names`` accepts."""

    ORIGINAL = "original"
    ALWAYS_ID = "always-id"
    PORTABLE = "portable"


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


def assign(mode: NameMode, newcomers: Iterable[Named], taken: Container[str]) -> dict[str, str]:
    """Embed code to name for assets that have none yet.

    :param newcomers: in any order; the oldest (`age_key`) chooses first.
    :param taken: the `key` of every name that was given before; no newcomer gets those.
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
    """Embed code to name for all of a library's assets.

    :param given: names that were given before; they stay, and no other asset gets them.
    """
    assets = list(assets)
    names = {a.embed_code: given[a.embed_code] for a in assets if a.embed_code in given}
    taken = {key(mode, name) for name in given.values()}
    return names | assign(mode, (a for a in assets if a.embed_code not in names), taken)


def catalog_naming(mode: NameMode) -> Naming:
    """How a catalog names the assets that have no name yet; names given before stay."""
    return Naming(
        mode,
        lambda nameless, taken: assign(mode, nameless, taken),
        key_of=lambda name: key(mode, name),
    )


def age_key(asset: Named | AssetRow) -> tuple[int, str]:
    """Sort key: the asset that keeps a contested name comes first."""
    return asset.created_at_s, asset.embed_code


def wanted(mode: NameMode, asset: Named) -> str:
    """The name an asset has when no other wants the same."""
    name = base_name(asset)
    if mode is NameMode.ALWAYS_ID:
        return fit(name, f" [{tag(asset.embed_code)}]")
    return portable(name) if mode is NameMode.PORTABLE else name


def key(mode: NameMode, name: str) -> str:
    """Two names with the same key cannot be in one folder."""
    if mode is not NameMode.PORTABLE:
        return name
    if name.isascii():
        return name.lower()
    # folding can take a composed character apart
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def legal(mode: NameMode, text: str) -> str:
    """``text`` as a name the mode allows; may be empty."""
    name = legal_name(text)
    return portable(name) if mode is NameMode.PORTABLE else name


def distinct(mode: NameMode, name: str, identifier: str, taken: Container[str]) -> str:
    """``name``, or when its key is taken, with `` [identifier]`` before the extension.

    :param name: legal in this mode.
    """
    if key(mode, name) not in taken:
        return name
    suffix = f" [{tag(identifier)}]"
    # beyond the first: a file of exactly this name was uploaded
    more = itertools.chain(["", "_"], (f"_{number}" for number in itertools.count(2)))
    candidates = (fit(name, suffix + end) for end in more)
    return next(candidate for candidate in candidates if key(mode, candidate) not in taken)


def tag(identifier: str) -> str:
    """An embed code or label id as it stands in names: itself, unless it is a strange one.

    Different ids have different tags, and no tag holds a bracket or a dot: so what stands in the
    last brackets of a name, or before its first dot, tells assets apart by itself.
    """
    if _PLAIN_ID.fullmatch(identifier):
        return identifier
    raw = identifier.encode("utf-8", "surrogatepass")
    quoted = quote_from_bytes(raw, _SAFE_IN_TAGS).replace(".", "%2E")
    if len(quoted) <= _MAX_TAG_LENGTH:
        return quoted
    # quoting never makes two percent signs in a row: no id is quoted to this
    return "%%" + blake2b(raw, digest_size=16).hexdigest()


def portable(name: str) -> str:
    """``name``, legal already, as Windows can have it too.

    255 bytes of UTF-8 are never more than 255 UTF-16 units, the limit there.
    """
    if not _NOT_PORTABLE.search(name):
        return name
    name = fit(name.translate(_FORBIDDEN))
    while True:
        # cutting after one rule can make work for the other
        if _DEVICE.match(name):
            # no look-alike letters: Windows maps those back for programs of the ANSI kind
            name = fit(_DEVICE.sub(r"\1_", name))
        elif name.endswith(tuple(_LAST)):
            name = fit(name[:-1] + _LAST[name[-1]])
        else:
            return name


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


class _TakenOrGiven:
    """The keys that were taken before, and those given since, without a copy of the first."""

    def __init__(self, taken: Container[str]) -> None:
        self._taken = taken
        self.given: set[str] = set()

    def __contains__(self, key: object) -> bool:
        return key in self.given or key in self._taken
