# SPDX-License-Identifier: Apache-2.0
"""Sidecars are files beside each source: ``.json`` (``--sidecars``) and captions (``--captions``).

See docs/sidecars.md. Sidecars are made from the catalog when they are looked up, so they cost no
API call and do not wait for the network. A source with the name of a sidecar hides the sidecar;
with ``--names portable`` case is ignored.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from backlotfs.api.records import Asset
from backlotfs.catalog.captions import KINDS, CaptionIndex
from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.db.rows import AssetRow, hashed_inode
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.config.settings import NameMode
from backlotfs.errors import NoSuchEntry
from backlotfs.namespace.attributes import Attributes, file_attributes, iso_utc
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.naming import MAX_NAME_BYTES, key
from backlotfs.namespace.tree import (
    Entry,
    Folder,
    PerFolder,
    StartWait,
    VirtualFile,
)
from backlotfs.source.version import SourceVersion

#: Version of the JSON format (docs/sidecars.md); grows with incompatible changes.
FORMAT = 1


class SidecarStat(NamedTuple):
    """The size and time of a sidecar. ``mtime_s``: seconds since the epoch."""

    size: int
    mtime_s: int


class Sidecars(ABC):
    """A provider of one file beside each source, or beside some.

    :ivar types: the MIME type of each suffix that the file may have.
    """

    types: ClassVar[Mapping[str, str]]
    subfolders = 0

    def __init__(self) -> None:
        self._suffixes = tuple(self.types)
        self._alike = PerFolder(self._portable_keys)

    @abstractmethod
    def suffix(self, embed_code: str) -> str | None:
        """The suffix that is added to the source's whole name; None if there is no sidecar."""

    @abstractmethod
    def stat(self, row: AssetRow) -> SidecarStat:
        """The current size and time of the sidecar. :raises NoSuchEntry: it is gone."""

    @abstractmethod
    def content(self, row: AssetRow) -> bytes:
        """All bytes of the sidecar. :raises NoSuchEntry: it is gone."""

    @property
    def version(self) -> int:
        """Always 0, because each source has its sidecar; see `Provider.version`."""
        return 0

    def may_add(self, name: str) -> bool:
        """Whether a name has one of the suffixes; see `Provider.may_add`."""
        return name.endswith(self._suffixes)

    def digest(self, folder: Folder) -> int:  # noqa: ARG002  # each source has its sidecar
        """Always 0, because each source has its sidecar; see `Provider.digest`."""
        return 0

    def find(self, path: str, namespace: Namespace) -> VirtualFile | None:
        """The sidecar at a path; see `Provider.find`."""
        if not path.endswith(self._suffixes):
            return None
        place, _, name = path.rpartition("/")
        folder = namespace.folder_at(place)
        if folder is None:
            return None
        stem, _, suffix = name.rpartition(".")
        row = folder.get(stem)
        if row is None or isinstance(row, Folder) or not namespace.is_listed(row):
            return None
        if self.suffix(row.embed_code) != f".{suffix}" or not self._is_free(
            name, folder, namespace
        ):
            return None
        return _Sidecar(self, f".{suffix}", row, namespace)

    def entries(
        self, folder: Folder, lines: Iterator[Entry], namespace: Namespace
    ) -> Iterator[Entry]:
        """Add each sidecar after its source; see `Provider.entries`."""
        assets = folder.assets
        for line in lines:
            yield line
            if line.is_directory or not line.in_tree:  # a sidecar of another kind
                continue
            suffix = self.suffix(assets.code(assets.numbers[line.inode]))
            if suffix is not None and self._is_free(line.name + suffix, folder, namespace):
                yield Entry(line.name + suffix, sidecar_inode(line.inode, suffix), False)

    def _is_free(self, name: str, folder: Folder, namespace: Namespace) -> bool:
        mode = namespace.options.names
        taken: Container[str] = folder.entries
        if mode is NameMode.PORTABLE:
            taken = self._alike.of(folder)
        return key(mode, name) not in taken and len(name.encode()) <= MAX_NAME_BYTES

    def _portable_keys(self, folder: Folder) -> frozenset[str]:
        """The keys of a folder's entries that may have the name of a sidecar."""
        alike = (name for name in folder.entries if name.lower().endswith(self._suffixes))
        return frozenset(key(NameMode.PORTABLE, name) for name in alike)


@dataclass(frozen=True, slots=True)
class _Sidecar(VirtualFile):
    """A sidecar at a path."""

    kind: Sidecars
    suffix: str
    row: AssetRow
    namespace: Namespace

    @property
    def inode(self) -> int:
        """The inode number, which depends only on the source's."""
        return sidecar_inode(self.row.inode, self.suffix)

    def attributes(self, start_wait: StartWait) -> Attributes:  # noqa: ARG002  # nothing waits
        """The attributes, with as many links as the source has paths."""
        size, mtime_s = self.kind.stat(self.row)
        return file_attributes(
            self.inode,
            size,
            mtime_s=mtime_s,
            umask=self.namespace.options.umask,
            nlink=self.namespace.links(self.row.inode),
        )

    def content(self, start_wait: StartWait) -> bytes:  # noqa: ARG002  # nothing waits
        """The current bytes."""
        return self.kind.content(self.row)

    def xattrs(self) -> dict[str, bytes]:
        """The MIME type and the asset's embed code."""
        return {
            "user.backlot.embed_code": self.row.embed_code.encode("utf-8", "replace"),
            "user.mime_type": self.kind.types[self.suffix].encode(),
        }


class JsonSidecars(Sidecars):
    """The provider of the ``.json`` files with each asset's metadata."""

    #: Appended to the whole name of the source, so that ``a.mov`` and ``a.mp4`` have one each.
    types: ClassVar = {".json": "application/json"}

    def __init__(self, catalog: Catalog, versions: SourceVersionCache) -> None:
        super().__init__()
        self._catalog = catalog
        self._versions = versions

    def suffix(self, embed_code: str) -> str | None:  # noqa: ARG002  # each has one
        """The suffix ``.json`` for every source."""
        return ".json"

    def stat(self, row: AssetRow) -> SidecarStat:
        """:raises NoSuchEntry: the asset was deleted."""
        # Not the source's time: an edited title changes the sidecar, but not the source.
        return SidecarStat(len(self.content(row)), row.updated_at_s or row.created_at_s)

    def content(self, row: AssetRow) -> bytes:
        """:raises NoSuchEntry: the asset was deleted."""
        asset = self._catalog.record(row.embed_code)
        if asset is None:
            raise NoSuchEntry(f"{row.name!r} was deleted")
        known = self._versions.known(row.embed_code)
        return sidecar_text(asset, None if known is None else known.version)


class CaptionSidecars(Sidecars):
    """The provider of caption files."""

    types: ClassVar = {f".{kind}": mime_type for kind, mime_type in KINDS.items()}

    def __init__(self, captions: CaptionIndex) -> None:
        super().__init__()
        self._captions = captions

    @property
    def version(self) -> int:
        """Grows when captions are found or removed; see `Provider.version`."""
        return self._captions.version

    def digest(self, folder: Folder) -> int:
        """A digest of which files have captions, and of which kind; see `Provider.digest`."""
        total = 0
        inodes = list(folder.inodes())
        for code, inode in zip(folder.assets.codes(inodes), inodes, strict=True):
            suffix = self.suffix(code)
            if suffix is not None:
                total += sidecar_inode(inode, suffix)
        return total

    def suffix(self, embed_code: str) -> str | None:
        """The suffix of the captions' kind; None also if they were not fetched yet."""
        caption = self._captions.known(embed_code)
        return None if caption is None else f".{caption.kind}"

    def stat(self, row: AssetRow) -> SidecarStat:
        """:raises NoSuchEntry: there are no captions any more."""
        caption = self._captions.known(row.embed_code)
        if caption is None:
            raise NoSuchEntry(f"{row.name!r} has no captions")
        # Not the row's time: the captions may have been fetched before the row's last change.
        return SidecarStat(caption.size, caption.mtime_s)

    def content(self, row: AssetRow) -> bytes:
        """:raises NoSuchEntry: there are no captions any more."""
        body = self._captions.document(row.embed_code)
        if body is None:
            raise NoSuchEntry(f"{row.name!r} has no captions")
        return body


def sidecar_text(asset: Asset, source: SourceVersion | None) -> bytes:
    """The JSON of an asset; equal metadata gives equal bytes.

    UTF-8, keys sorted, two spaces of indentation, a newline at the end.

    :param source: result of the last probe; None if there was none.
    """
    labels = sorted(asset.labels or (), key=lambda label: (label.full_name, label.id))
    facts = {
        "sidecar_format": FORMAT,
        "embed_code": asset.embed_code,
        "title": asset.title,
        "description": asset.description,
        "asset_type": asset.asset_type,
        "status": asset.status,
        "original_file_name": asset.original_file_name,
        "external_id": asset.external_id,
        "duration_ms": asset.duration_ms,
        "created_at": iso_utc(asset.created_at_s) or None,
        "updated_at": iso_utc(asset.updated_at_s) or None,
        "metadata": dict(asset.metadata),
        "labels": [
            {"id": label.id, "name": label.name, "full_name": label.full_name} for label in labels
        ],
        "source": None
        if source is None
        else {
            "size": source.size,
            "etag": source.etag,
            "last_modified": source.last_modified,
        },
    }
    text = json.dumps(facts, ensure_ascii=False, indent=2, sort_keys=True)
    # half a surrogate pair in a title is no UTF-8
    return f"{text}\n".encode("utf-8", "replace")


def sidecar_inode(inode: int, suffix: str = ".json") -> int:
    """The inode of a source's sidecar, which depends only on the source's inode."""
    return hashed_inode(inode.to_bytes(8, "big"), f"backlotfs{suffix.replace('.', ' ')}".encode())
