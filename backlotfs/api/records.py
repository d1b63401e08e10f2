"""What the API answers, as immutable records. :mod:`backlotfs.api.parsing` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

from backlotfs.api.signed_url import SignedUrl

R = TypeVar("R")
# one for all: a library of a million assets would hold a million empty mappings
NO_METADATA: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Label:
    """A folder-like tag of the library.

    :ivar id: the label's id; siblings may share a name, never an id.
    :ivar name: may hold ``/`` and ``,``.
    :ivar full_name: for people to read; build the tree from ``parent_id``.
    :ivar parent_id: None at the top level.
    """

    id: str
    name: str
    full_name: str
    parent_id: str | None


@dataclass(frozen=True, slots=True)
class Asset:
    """One entry of the library; it says everything but the size.

    :ivar embed_code: the id.
    :ivar title: ``""`` when absent; may hold newlines.
    :ivar original_file_name: as uploaded, any characters; None for types without a source.
    :ivar asset_type: ``video``, ``audio``, ``ad``, ``channel`` …; ``""`` when absent.
    :ivar status: ``live``, ``paused``, ``processing`` …; ``""`` when absent.
    :ivar created_at_s: seconds since the epoch; 0 when it cannot be parsed.
    :ivar updated_at_s: likewise; moves when the source is replaced.
    :ivar duration_ms: 0 for channels and unprocessed assets.
    :ivar metadata: empty unless asked for with ``include=metadata``.
    :ivar labels: None unless asked for with ``include=labels`` and understood.
    :ivar source: None unless asked for with ``include=streams``, which few servers understand.
    """

    embed_code: str
    title: str
    original_file_name: str | None
    asset_type: str
    status: str
    created_at_s: int
    updated_at_s: int
    duration_ms: int
    description: str | None = None
    external_id: str | None = None
    preview_image_url: str | None = None
    # a mapping has no hash; the embed code and the times tell assets apart well enough
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA, hash=False)
    labels: tuple[Label, ...] | None = None
    source: Source | None = field(default=None, compare=False)

    @property
    def parts(self) -> int:
        """Labels and custom fields: what it takes in memory beside its texts."""
        return len(self.labels or ()) + len(self.metadata)


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """One page of a listing of assets, labels or deletions.

    :ivar skipped: one reason per record that could not be used: which, and why.
    :ivar next_page: the relative URL of the next page as received; None on the last one.
    :ivar skipped_more: records that could not be used beside those in ``skipped``.
    :ivar size_bytes: of the answer, unpacked.
    """

    items: tuple[R, ...]
    skipped: tuple[str, ...]
    next_page: str | None
    skipped_more: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeletedAsset:
    """An asset that was deleted recently.

    :ivar deleted_at_s: seconds since the epoch; 0 when it cannot be parsed.
    """

    embed_code: str
    deleted_at_s: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where an asset's original file is.

    :ivar url: None when the API names a source and gives no URL for it.
    :ivar file_size: bytes, as the API believes; ``Content-Range`` of the source knows better.
    :ivar original_file_name: only from ``source_file_info``.
    """

    url: SignedUrl | None
    file_size: int | None
    original_file_name: str | None = None
