"""The records of a library: assets, labels, deleted assets, and made-up assets."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from backlotfs.emulator.content import Content, FileContent, SyntheticContent, seed_of

_NOTHING: Mapping[str, Any] = MappingProxyType({})  # one for all: libraries are large
_OLDEST = 1_356_998_400  # 2013-01-01T00:00:00Z
_PER_SECOND = 50  # made-up assets that share one ``created_at``: bulk uploads make ties common
_DUPLICATE_EVERY = 97
_BYTES_PER_MS = 1000  # 8 Mbit/s, a usual rate for a source

SOURCE_TYPES = frozenset({"video", "ad", "audio"})
"""Asset types that have a source file."""


def stable_embed_code(identity: str) -> str:
    """32 characters of ``[A-Za-z0-9_-]`` that depend on ``identity`` alone."""
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode("ascii")


def stable_label_id(identity: str) -> str:
    """32 hexadecimal digits that depend on ``identity`` alone."""
    return hashlib.sha256(f"label:{identity}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class EmulatedAsset:
    """One asset. Immutable: ``Library.edit`` and ``Library.replace`` put a new one in its place.

    :ivar embed_code: the id, 32 characters of ``[A-Za-z0-9_-]``.
    :ivar title: the API's ``name``.
    :ivar original_file_name: the name at upload; any characters, or None.
    :ivar content: the source object; None for an asset without one.
    :ivar asset_type: ``video``, ``audio``, ``ad``, ``remote_asset``, ``channel`` …
    :ivar status: ``live``, ``paused``, ``processing`` …
    :ivar created_at: seconds since the epoch, whole.
    :ivar updated_at: seconds since the epoch, whole; 0 stands for ``created_at``.
    :ivar duration_ms: playing time.
    :ivar metadata: custom key/value pairs.
    :ivar label_ids: ids of the labels it carries.
    :ivar reported_size: the ``file_size`` the API claims; None for the true size.
    :ivar url_withheld: the API gives a null URL, though there is a size.
    :ivar upload: how often its source was replaced under a key of its own; part of the key.
    :ivar source_position: where the source stands among the entries of ``/streams``.
    :ivar preview_image: what its preview image is, encoded; None: a frame of its file, or a colour.
    :ivar extras: further fields of the record as they are (``stream_urls``, ``click_url`` …), and
        the bodies of side-car routes under ``"/lineup"`` and so on; under ``"/closed_captions"``
        a document, as text or as bytes.
    """

    embed_code: str
    title: str
    original_file_name: str | None = None
    content: Content | None = None
    asset_type: str = "video"
    status: str = "live"
    created_at: int = _OLDEST
    updated_at: int = 0
    duration_ms: int = 0
    description: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    label_ids: tuple[str, ...] = ()
    reported_size: int | None = None
    url_withheld: bool = False
    upload: int = 0
    source_position: int = 0
    preview_image: bytes | None = None
    extras: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @property
    def changed_at(self) -> int:
        """``updated_at`` as the API tells it: also moved by a change of the file on disk."""
        changed = max(self.created_at, self.updated_at)
        if isinstance(self.content, FileContent):
            changed = max(changed, self.content.last_modified)
        return changed

    @property
    def object_key(self) -> str:
        """Key of the source object: ``<embed_code>/<first>-<last>``, 13 digits each.

        A later upload that had to leave the objects before it alone has its number in between.
        """
        size = self.content.size if self.content is not None else 0
        upload = f"{self.upload}/" if self.upload else ""
        return f"{self.embed_code}/{upload}{0:013d}-{max(0, size - 1):013d}"


@dataclass(frozen=True, slots=True)
class EmulatedLabel:
    """One label of the tree.

    :ivar label_id: 32 hexadecimal digits.
    :ivar name: its own name; may hold ``/`` and ``,``, and need not be unique.
    :ivar parent_id: the label above; None at the top.
    """

    label_id: str
    name: str
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeletedAsset:
    """What ``/v2/deleted_assets`` still knows.

    :ivar asset: the record as it was.
    :ivar deleted_at: seconds since the epoch, whole.
    """

    asset: EmulatedAsset
    deleted_at: int


def synthetic_assets(
    count: int, *, size_bytes: int | Callable[[int], int] = 5_000_000, seed: int = 0
) -> Iterator[EmulatedAsset]:
    """``count`` videos named ``clip-000000.mp4`` and on, the same ones for the same arguments.

    Fifty assets share each second from 2013-01-01 on. Each 97th has the file name of the one before
    it (and bytes of its own). The source stands first, second or third in ``/streams``, in turn.
    """
    for index in range(count):
        named = index - 1 if index and index % _DUPLICATE_EVERY == 0 else index
        size = size_bytes(index) if callable(size_bytes) else size_bytes
        created = _OLDEST + index // _PER_SECOND
        yield EmulatedAsset(
            embed_code=stable_embed_code(f"synthetic:{seed}:{index}"),
            title=f"Clip {index}",
            original_file_name=f"clip-{named:06d}.mp4",
            content=SyntheticContent(seed_of(f"{seed}:{index}"), size, created),
            created_at=created,
            duration_ms=size // _BYTES_PER_MS,
            source_position=index % 3,
        )
