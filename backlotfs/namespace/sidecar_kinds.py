"""What there may be beside a source: the ``.json`` of `--sidecars`, the captions of `--captions`.

Nothing here waits for the network: the one is made from the catalog, the other kept in it.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

from backlotfs.api.records import Asset
from backlotfs.catalog.captions import KINDS
from backlotfs.catalog.db.captions import Caption
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.versions import ProbedSource
from backlotfs.errors import NoSuchEntry
from backlotfs.namespace.sidecar_text import SUFFIX, sidecar_text


class Facts(NamedTuple):
    """What ``stat`` says of a file beside a source. ``mtime_s``: seconds since the epoch."""

    size: int
    mtime_s: int


class SidecarKind(Protocol):
    """One kind of file beside sources; a source has one of it at most.

    :ivar types: each suffix that it may have, with its MIME type.
    """

    @property
    def types(self) -> dict[str, str]:
        """Suffix to MIME type."""

    def suffix(self, row: AssetRow) -> str | None:
        """What the file's name has behind that of its source; None while there is none."""

    def facts(self, row: AssetRow) -> Facts:
        """Of the file as it is now. :raises NoSuchEntry: it is gone."""

    def content(self, row: AssetRow) -> bytes:
        """All of it. :raises NoSuchEntry: it is gone."""


class Described(Protocol):
    """What `JsonSidecars` needs of the catalog."""

    def record(self, embed_code: str) -> Asset | None:
        """All that the API says of an asset."""


class Sources(Protocol):
    """What `JsonSidecars` needs of the source book."""

    def known(self, embed_code: str) -> ProbedSource | None:
        """What is known of a source."""


class Captions(Protocol):
    """What `CaptionSidecars` needs of the caption book."""

    def known(self, embed_code: str) -> Caption | None:
        """What captions an asset has, as far as is known."""

    def document(self, embed_code: str) -> bytes | None:
        """Their bytes."""


class JsonSidecars:
    """What the library says of each asset."""

    types: ClassVar = {SUFFIX: "application/json"}

    def __init__(self, catalog: Described, book: Sources) -> None:
        self._catalog = catalog
        self._book = book

    def suffix(self, row: AssetRow) -> str | None:  # noqa: ARG002  # each has one
        """Every source has one."""
        return SUFFIX

    def facts(self, row: AssetRow) -> Facts:
        """:raises NoSuchEntry: the asset was deleted."""
        # Not the source's time: an edited title is news here, and no reason to copy a film again.
        return Facts(len(self.content(row)), row.updated_at_s or row.created_at_s)

    def content(self, row: AssetRow) -> bytes:
        """:raises NoSuchEntry: the asset was deleted."""
        asset = self._catalog.record(row.embed_code)
        if asset is None:
            raise NoSuchEntry(f"{row.name!r} was deleted")
        known = self._book.known(row.embed_code)
        return sidecar_text(asset, None if known is None else known.version)


class CaptionSidecars:
    """The caption documents that were found."""

    types: ClassVar = {f".{kind}": mime_type for kind, mime_type in KINDS.items()}

    def __init__(self, captions: Captions) -> None:
        self._captions = captions

    def suffix(self, row: AssetRow) -> str | None:
        """None also while nobody has asked yet."""
        caption = self._captions.known(row.embed_code)
        return None if caption is None else f".{caption.kind}"

    def facts(self, row: AssetRow) -> Facts:
        """:raises NoSuchEntry: there are none any more."""
        caption = self._captions.known(row.embed_code)
        if caption is None:
            raise NoSuchEntry(f"{row.name!r} has no captions")
        # Not the row's time, which may be that of a change whose captions were not asked for yet.
        return Facts(caption.size, caption.mtime_s)

    def content(self, row: AssetRow) -> bytes:
        """:raises NoSuchEntry: there are none any more."""
        body = self._captions.document(row.embed_code)
        if body is None:
            raise NoSuchEntry(f"{row.name!r} has no captions")
        return body
