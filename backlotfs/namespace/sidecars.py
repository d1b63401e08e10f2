"""A library with a ``.json`` beside each source (``--sidecars``): see docs/sidecars.md.

The files are not in the tree: each is made from the catalog when somebody asks for it, so none of
them ever costs a call of the API, and none takes memory. A source that is called so itself wins:
then there is no such sidecar. With ``--names portable`` that holds without regard to case.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from functools import cached_property
from hashlib import blake2b

from backlotfs.catalog.rows import AssetRow
from backlotfs.errors import NoSuchEntry, NotSupported
from backlotfs.namespace.attributes import Attributes, file_attributes
from backlotfs.namespace.layouts.folder import ROOT_INODE, Folder
from backlotfs.namespace.name_modes import NameMode, key
from backlotfs.namespace.namespace import Entry, Namespace, Version
from backlotfs.namespace.naming import MAX_NAME_BYTES
from backlotfs.namespace.sidecar_text import SUFFIX, sidecar_text
from backlotfs.waiting import Waiter


class NamespaceWithSidecars(Namespace):
    """As `Namespace`, and `document` has the contents of the sidecars."""

    def attributes(self, path: str, patience: Callable[[], Waiter]) -> Attributes:
        """Of a sidecar too, and for that nothing waits."""
        row = self._described(path)
        if row is None:
            return super().attributes(path, patience)
        return file_attributes(
            sidecar_inode(row.inode),
            len(self._text(row)),
            # Not the source's: an edited title is news here, and no reason to copy a film again.
            mtime_s=row.updated_at_s or row.created_at_s,
            umask=self._umask,
            nlink=self._current().layout.places(row.embed_code),
        )

    def entries(self, path: str) -> Iterator[Entry]:
        """The lines of a folder, each sidecar after its source."""
        folder = self._lookup(self._current(), path)
        taken = self._taken(folder) if isinstance(folder, Folder) else frozenset[str]()
        return self._with_sidecars(super().entries(path), taken)

    def open(self, path: str, waiter: Waiter) -> Version:
        """:raises NotSupported: a sidecar has no source; `document` has what is in it."""
        if self._described(path) is not None:
            raise NotSupported(f"{path!r} is made from the catalog: there is nothing to fetch")
        return super().open(path, waiter)

    def is_made(self, path: str) -> bool:
        """Sidecars are."""
        return self._described(path) is not None or super().is_made(path)

    def document(self, path: str, patience: Callable[[], Waiter]) -> bytes | None:
        """All of a sidecar, as it is now; None when the path is something else."""
        row = self._described(path)
        if row is None:
            return super().document(path, patience)
        self._catalog.used()
        return self._text(row)

    def xattrs(self, path: str) -> dict[str, bytes]:
        """A sidecar says what it is, and of which asset."""
        row = self._described(path)
        if row is None:
            return super().xattrs(path)
        code = row.embed_code.encode("utf-8", "replace")
        return {"user.backlot.embed_code": code, "user.mime_type": b"application/json"}

    def _described(self, path: str) -> AssetRow | None:
        """The asset whose sidecar this is."""
        if not path.endswith(SUFFIX):
            return None
        place, _, name = path.rpartition("/")
        try:
            folder = self._lookup(self._current(), place)
        except NoSuchEntry:
            return None
        if not isinstance(folder, Folder):
            return None
        row = folder.entries.get(name.removesuffix(SUFFIX))
        if row is None or isinstance(row, Folder) or not self._free(name, self._taken(folder)):
            return None
        hidden = not self._include_unavailable and self._book.unavailable(row)
        return None if hidden else row

    def _text(self, row: AssetRow) -> bytes:
        asset = self._catalog.record(row.embed_code)
        if asset is None:
            raise NoSuchEntry(f"{row.name!r} was deleted")
        known = self._book.known(row.embed_code)
        return sidecar_text(asset, None if known is None else known.identity)

    def _with_sidecars(self, lines: Iterator[Entry], taken: Container[str]) -> Iterator[Entry]:
        for line in lines:
            yield line
            name = line.name + SUFFIX
            if not line.is_directory and self._free(name, taken):
                yield Entry(name, sidecar_inode(line.inode), False)

    def _free(self, name: str, taken: Container[str]) -> bool:
        return key(self._names, name) not in taken and len(name.encode()) <= MAX_NAME_BYTES

    def _taken(self, folder: Folder[AssetRow]) -> Container[str]:
        """The keys of its entries that a sidecar could be called like."""
        if self._names is not NameMode.PORTABLE:
            return folder.entries
        kept = self._portable_keys.get(folder.inode)
        if kept is None or kept[0] is not folder:  # of an older version of the library
            alike = (name for name in folder.entries if name[-len(SUFFIX) :].lower() == SUFFIX)
            kept = folder, frozenset(key(self._names, name) for name in alike)
            self._portable_keys[folder.inode] = kept
        return kept[1]

    @cached_property
    def _portable_keys(self) -> dict[int, tuple[Folder[AssetRow], frozenset[str]]]:
        """By the folder's inode, for the latest version of each."""
        return {}


def sidecar_inode(inode: int) -> int:
    """Of the sidecar of the source with this inode: the same on every host, and in every folder."""
    digest = blake2b(inode.to_bytes(8, "big"), digest_size=8, person=b"backlotfs json").digest()
    return max(ROOT_INODE + 1, int.from_bytes(digest, "big") >> 1)
