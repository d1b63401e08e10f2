"""Files beside each source: the ``.json`` of ``--sidecars``, the captions of ``--captions``.

See docs/sidecars.md. The files are made from the catalog when they are looked up, so none of them
costs a call of the API then, and nothing here waits for the network. A source that is called like a
sidecar wins: then there is no such sidecar. With ``--names portable`` that is so without regard to
case.
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
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.errors import NoSuchEntry
from backlotfs.namespace.attributes import Attributes, file_attributes, iso_utc
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.naming import MAX_NAME_BYTES, NameMode, key
from backlotfs.namespace.tree import (
    Entry,
    Folder,
    PerFolder,
    StartWait,
    VirtualFile,
    hashed_inode,
)
from backlotfs.source.version import SourceVersion

#: Grows when a reader of the JSON would have to change; docs/sidecars.md describes the format.
FORMAT = 1


class SidecarStat(NamedTuple):
    """What ``stat`` says of a sidecar. ``mtime_s``: seconds since the epoch."""

    size: int
    mtime_s: int


class Sidecars(ABC):
    """A provider of one file beside each source, or beside some.

    :ivar types: each suffix that the file may have, with its MIME type.
    """

    types: ClassVar[Mapping[str, str]]
    subfolders = 0

    def __init__(self) -> None:
        self._suffixes = tuple(self.types)
        self._alike = PerFolder(self._portable_keys)

    @abstractmethod
    def suffix(self, row: AssetRow) -> str | None:
        """The suffix behind the whole name of the source; None while there is no sidecar."""

    @abstractmethod
    def stat(self, row: AssetRow) -> SidecarStat:
        """Size and time of the sidecar as it is now. :raises NoSuchEntry: it is gone."""

    @abstractmethod
    def content(self, row: AssetRow) -> bytes:
        """All bytes of the sidecar. :raises NoSuchEntry: it is gone."""

    def find(self, path: str, namespace: Namespace) -> VirtualFile | None:
        """The sidecar at this path; as `Provider.find`."""
        if not path.endswith(self._suffixes):
            return None
        place, _, name = path.rpartition("/")
        folder = namespace.folder_at(place)
        if folder is None:
            return None
        stem, _, suffix = name.rpartition(".")
        row = folder.entries.get(stem)
        if row is None or isinstance(row, Folder) or not namespace.is_listed(row):
            return None
        if self.suffix(row) != f".{suffix}" or not self._is_free(name, folder, namespace):
            return None
        return _Sidecar(self, f".{suffix}", row, namespace)

    def entries(
        self, folder: Folder, lines: Iterator[Entry], namespace: Namespace
    ) -> Iterator[Entry]:
        """Each sidecar after its source; as `Provider.entries`."""
        for line in lines:
            yield line
            row = folder.entries.get(line.name)
            if row is None or isinstance(row, Folder):  # None: a sidecar of another kind
                continue
            suffix = self.suffix(row)
            if suffix is not None and self._is_free(line.name + suffix, folder, namespace):
                yield Entry(line.name + suffix, sidecar_inode(row.inode, suffix), False)

    def _is_free(self, name: str, folder: Folder, namespace: Namespace) -> bool:
        mode = namespace.options.names
        taken: Container[str] = folder.entries
        if mode is NameMode.PORTABLE:
            taken = self._alike.of(folder)
        return key(mode, name) not in taken and len(name.encode()) <= MAX_NAME_BYTES

    def _portable_keys(self, folder: Folder) -> frozenset[str]:
        """The keys of those entries of a folder that a sidecar could be called like."""
        alike = (name for name in folder.entries if name.lower().endswith(self._suffixes))
        return frozenset(key(NameMode.PORTABLE, name) for name in alike)


@dataclass(frozen=True, slots=True)
class _Sidecar(VirtualFile):
    """One file beside a source, as it is called now."""

    kind: Sidecars
    suffix: str
    row: AssetRow
    namespace: Namespace

    def attributes(self, start_wait: StartWait) -> Attributes:  # noqa: ARG002  # nothing waits
        """As many links as the source has places."""
        size, mtime_s = self.kind.stat(self.row)
        return file_attributes(
            sidecar_inode(self.row.inode, self.suffix),
            size,
            mtime_s=mtime_s,
            umask=self.namespace.options.umask,
            nlink=self.namespace.links(self.row.embed_code),
        )

    def content(self, start_wait: StartWait) -> bytes:  # noqa: ARG002  # nothing waits
        """As it is now."""
        return self.kind.content(self.row)

    def xattrs(self) -> dict[str, bytes]:
        """What it is, and of which asset."""
        return {
            "user.backlot.embed_code": self.row.embed_code.encode("utf-8", "replace"),
            "user.mime_type": self.kind.types[self.suffix].encode(),
        }


class JsonSidecars(Sidecars):
    """What the library says of each asset."""

    #: Appended to the whole name of the source, so that ``a.mov`` and ``a.mp4`` have one each.
    types: ClassVar = {".json": "application/json"}

    def __init__(self, catalog: Catalog, versions: SourceVersionCache) -> None:
        super().__init__()
        self._catalog = catalog
        self._versions = versions

    def suffix(self, row: AssetRow) -> str | None:  # noqa: ARG002  # each has one
        """Every source has one."""
        return ".json"

    def stat(self, row: AssetRow) -> SidecarStat:
        """:raises NoSuchEntry: the asset was deleted."""
        # Not the source's time: an edited title is news here, and no reason to copy a film again.
        return SidecarStat(len(self.content(row)), row.updated_at_s or row.created_at_s)

    def content(self, row: AssetRow) -> bytes:
        """:raises NoSuchEntry: the asset was deleted."""
        asset = self._catalog.record(row.embed_code)
        if asset is None:
            raise NoSuchEntry(f"{row.name!r} was deleted")
        known = self._versions.known(row.embed_code)
        return sidecar_text(asset, None if known is None else known.version)


class CaptionSidecars(Sidecars):
    """The captions that were found."""

    types: ClassVar = {f".{kind}": mime_type for kind, mime_type in KINDS.items()}

    def __init__(self, captions: CaptionIndex) -> None:
        super().__init__()
        self._captions = captions

    def suffix(self, row: AssetRow) -> str | None:
        """None also while the captions of the asset were not asked for yet."""
        caption = self._captions.known(row.embed_code)
        return None if caption is None else f".{caption.kind}"

    def stat(self, row: AssetRow) -> SidecarStat:
        """:raises NoSuchEntry: there are no captions any more."""
        caption = self._captions.known(row.embed_code)
        if caption is None:
            raise NoSuchEntry(f"{row.name!r} has no captions")
        # Not the row's time, which may be that of a change whose captions were not asked for yet.
        return SidecarStat(caption.size, caption.mtime_s)

    def content(self, row: AssetRow) -> bytes:
        """:raises NoSuchEntry: there are no captions any more."""
        body = self._captions.document(row.embed_code)
        if body is None:
            raise NoSuchEntry(f"{row.name!r} has no captions")
        return body


def sidecar_text(asset: Asset, source: SourceVersion | None) -> bytes:
    """The JSON of an asset, the same bytes for the same facts.

    UTF-8, keys sorted, two spaces of indentation, a newline at the end.

    :param source: what the last probe of the source found; None while there was none.
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
    """The inode of the sidecar of the source with this inode: the same in every folder."""
    return hashed_inode(inode.to_bytes(8, "big"), f"backlotfs{suffix.replace('.', ' ')}".encode())
