"""A library with files beside each source (``--sidecars``, ``--captions``): see docs/sidecars.md.

The files are not in the tree: each comes from the catalog when somebody asks for it, so none of
them ever costs a call of the API then. A source that is called so itself wins: then there is no
such sidecar. With ``--names portable`` that holds without regard to case.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

from backlotfs.catalog.db.rows import AssetRow
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import NoSuchEntry, NotSupported
from backlotfs.namespace.attributes import Attributes, file_attributes
from backlotfs.namespace.layouts.folder import ROOT_INODE, Folder
from backlotfs.namespace.name_modes import NameMode, key
from backlotfs.namespace.namespace import Book, Entry, Listing, Namespace, Probes, Version
from backlotfs.namespace.naming import MAX_NAME_BYTES
from backlotfs.namespace.sidecar_kinds import (
    Captions,
    CaptionSidecars,
    JsonSidecars,
    SidecarKind,
)


class _Sidecar(NamedTuple):
    """One file beside a source, as it is called now."""

    kind: SidecarKind
    suffix: str
    row: AssetRow


class NamespaceWithSidecars(Namespace):
    """As `Namespace`, and `virtual_content` has the contents of the sidecars."""

    def __init__(
        self,
        catalog: Listing,
        book: Book,
        probes: Probes,
        **settings: Any,
    ) -> None:
        """Put it together; with the JSON alone. ``settings``: of `Namespace`."""
        super().__init__(catalog, book, probes, **settings)
        self._kinds: list[SidecarKind] = [JsonSidecars(catalog, book)]
        self._suffixes = tuple(JsonSidecars.types)

    def choose(self, *, json: bool, captions: Captions | None) -> None:
        """What is to be beside the sources; before anybody looks.

        :param json: what the library says. :param captions: those that are known.
        """
        self._kinds = [JsonSidecars(self._catalog, self._book)] if json else []
        if captions is not None:
            self._kinds.append(CaptionSidecars(captions))
        self._suffixes = tuple(suffix for kind in self._kinds for suffix in kind.types)

    def attributes(self, path: str, patience: Callable[[], InterruptibleWait]) -> Attributes:
        """Of a sidecar too, and for that nothing waits."""
        found = self._beside(path)
        if found is None:
            return super().attributes(path, patience)
        facts = found.kind.facts(found.row)
        return file_attributes(
            sidecar_inode(found.row.inode, found.suffix),
            facts.size,
            mtime_s=facts.mtime_s,
            umask=self._umask,
            nlink=self._current().layout.places(found.row.embed_code),
        )

    def entries(self, path: str) -> Iterator[Entry]:
        """The lines of a folder, each sidecar after its source."""
        folder = self._lookup(self._current(), path)
        lines = super().entries(path)
        return self._with_sidecars(folder, lines) if isinstance(folder, Folder) else lines

    def open(self, path: str, waiter: InterruptibleWait) -> Version:
        """:raises NotSupported: a sidecar has no source; `virtual_content` has what is in it."""
        if self._beside(path) is not None:
            raise NotSupported(f"{path!r} comes from the catalog: there is nothing to fetch")
        return super().open(path, waiter)

    def is_virtual(self, path: str) -> bool:
        """Sidecars are."""
        return self._beside(path) is not None or super().is_virtual(path)

    def virtual_content(self, path: str, patience: Callable[[], InterruptibleWait]) -> bytes | None:
        """All of a sidecar, as it is now; None when the path is something else."""
        found = self._beside(path)
        if found is None:
            return super().virtual_content(path, patience)
        self._catalog.used()
        return found.kind.content(found.row)

    def xattrs(self, path: str) -> dict[str, bytes]:
        """A sidecar says what it is, and of which asset."""
        found = self._beside(path)
        if found is None:
            return super().xattrs(path)
        return {
            "user.backlot.embed_code": found.row.embed_code.encode("utf-8", "replace"),
            "user.mime_type": found.kind.types[found.suffix].encode(),
        }

    def _beside(self, path: str) -> _Sidecar | None:
        """The sidecar of this path, if it is one."""
        if not path.endswith(self._suffixes):
            return None
        place, _, name = path.rpartition("/")
        try:
            folder = self._lookup(self._current(), place)
        except NoSuchEntry:
            return None
        if not isinstance(folder, Folder):
            return None
        stem, _, suffix = name.rpartition(".")
        row = folder.entries.get(stem)
        if row is None or isinstance(row, Folder) or not self._free(name, self._taken(folder)):
            return None
        if not self._include_unavailable and self._book.unavailable(row):
            return None
        return next(
            (one for one in self._sidecars(row) if one.suffix == f".{suffix}"),
            None,
        )

    def _sidecars(self, row: AssetRow) -> Iterator[_Sidecar]:
        for kind in self._kinds:
            suffix = kind.suffix(row)
            if suffix is not None:
                yield _Sidecar(kind, suffix, row)

    def _with_sidecars(self, folder: Folder[AssetRow], lines: Iterator[Entry]) -> Iterator[Entry]:
        taken = self._taken(folder)
        for line in lines:
            yield line
            row = folder.entries.get(line.name)
            if row is None or isinstance(row, Folder):  # none: of a later version of the library
                continue
            for found in self._sidecars(row):
                name = line.name + found.suffix
                if self._free(name, taken):
                    yield Entry(name, sidecar_inode(row.inode, found.suffix), False)

    def _free(self, name: str, taken: Container[str]) -> bool:
        return key(self._names, name) not in taken and len(name.encode()) <= MAX_NAME_BYTES

    def _taken(self, folder: Folder[AssetRow]) -> Container[str]:
        """The keys of its entries that a sidecar could be called like."""
        if self._names is not NameMode.PORTABLE:
            return folder.entries
        kept = self._portable_keys.get(folder.inode)
        if kept is None or kept[0] is not folder:  # of an older version of the library
            alike = (name for name in folder.entries if name.lower().endswith(self._suffixes))
            kept = folder, frozenset(key(self._names, name) for name in alike)
            self._portable_keys[folder.inode] = kept
        return kept[1]

    @cached_property
    def _portable_keys(self) -> dict[int, tuple[Folder[AssetRow], frozenset[str]]]:
        """By the folder's inode, for the latest version of each."""
        return {}


def sidecar_inode(inode: int, suffix: str = ".json") -> int:
    """Of the sidecar of the source with this inode: the same on every host, and in every folder."""
    person = f"backlotfs{suffix.replace('.', ' ')}".encode()
    digest = blake2b(inode.to_bytes(8, "big"), digest_size=8, person=person).digest()
    return max(ROOT_INODE + 1, int.from_bytes(digest, "big") >> 1)
