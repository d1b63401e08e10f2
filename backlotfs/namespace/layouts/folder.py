"""A folder of a layout, and how files get into it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Generic, Protocol, TypeVar

from backlotfs.namespace.name_modes import NameMode, distinct, key

#: The root's inode number, as FUSE has it.
ROOT_INODE = 1


class Row(Protocol):
    """What a layout needs of an asset: a `catalog.db.rows.AssetRow`."""

    @property
    def embed_code(self) -> str:
        """The id."""

    @property
    def inode(self) -> int:
        """The same in every place."""

    @property
    def name(self) -> str:
        """The given name, unique in the library; ``""`` while there is none."""

    @property
    def created_at_s(self) -> int:
        """Seconds since the epoch; 0 when it cannot be parsed."""


R = TypeVar("R", bound=Row)


class Folder(Generic[R]):
    """Names to folders and files; never changed once the layout is built.

    :ivar inode: see `folder_inode`; `ROOT_INODE` for the root.
    :ivar entries: the folders first, then the files, which are rows as they are: a library of a
        million assets has no million nodes besides.
    :ivar subfolders: how many of the entries are folders.
    """

    __slots__ = ("entries", "inode", "subfolders")

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.entries: dict[str, Folder[R] | R] = {}
        self.subfolders = 0

    def __repr__(self) -> str:
        return f"<Folder {self.inode}: {self.subfolders} of {len(self.entries)} are folders>"

    def folders(self) -> Iterator[tuple[str, Folder[R]]]:
        """The entries that are folders, without a look at the files."""
        first = islice(self.entries.items(), self.subfolders)
        return ((name, entry) for name, entry in first if isinstance(entry, Folder))

    def put_folder(self, name: str, folder: Folder[R]) -> None:
        """Takes in a folder under a free name; all of them before the first file."""
        self.entries[name] = folder
        self.subfolders += 1

    def put_files(self, rows: Collection[R], mode: NameMode) -> None:
        """Takes in all its files, each under its given name unless a folder is called the same.

        Such a file gets `` [embed_code]`` before the extension: the folder's name does not hang
        on what is in it, and a file called just so keeps its own.

        :param rows: of different names, as given in this mode.
        """
        if not self.subfolders:
            self.entries = {row.name: row for row in rows}
            return
        folder_keys = {key(mode, name) for name, _ in self.folders()}
        displaced = [row for row in rows if key(mode, row.name) in folder_keys]
        if not displaced:
            self.entries.update({row.name: row for row in rows})
            return
        others = [row for row in rows if key(mode, row.name) not in folder_keys]
        self.entries.update({row.name: row for row in others})
        taken = folder_keys.union(key(mode, row.name) for row in others)
        for row in sorted(displaced, key=lambda row: (row.created_at_s, row.embed_code)):
            name = distinct(mode, row.name, row.embed_code, taken)
            taken.add(key(mode, name))
            self.entries[name] = row


def folder_inode(what: str) -> int:
    """A 63-bit inode number that is the same on every host and after every restart.

    :param what: what the folder *is* (``label:<id>``, ``dates:2013/01``), not where or how called:
        a renamed label keeps its inode.
    """
    # personalised: no embed code, whatever it is, hashes to the same by being spelled like this
    digest = blake2b(
        what.encode("utf-8", "surrogatepass"), digest_size=8, person=b"backlotfs folder"
    )
    return max(ROOT_INODE + 1, int.from_bytes(digest.digest(), "big") >> 1)
