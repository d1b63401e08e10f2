"""The folder as it stands: an immutable snapshot that is swapped whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from backlotfs.errors import IsADirectory, NoSuchEntry, NotADirectory

#: The root's inode number, as FUSE has it.
ROOT_INODE = 1


def inode_of(embed_code: str) -> int:
    """A 63-bit inode number that is the same on every host and after every restart.

    Two of a million assets share one with a probability of 5e-8, and then only hard-link
    detection is fooled.
    """
    digest = hashlib.blake2b(embed_code.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return max(ROOT_INODE + 1, int.from_bytes(digest, "big") >> 1)


@dataclass(frozen=True, slots=True)
class FileNode:
    """A file: an asset's source."""

    embed_code: str
    inode: int


@dataclass(frozen=True, slots=True)
class DirNode:
    """A folder: names to nodes, in listing order."""

    inode: int
    entries: Mapping[str, Node]


Node = FileNode | DirNode


@dataclass(frozen=True, slots=True)
class Tree:
    """One whole version of the namespace."""

    root: DirNode

    def lookup(self, path: str) -> Node:
        """The node at an absolute path.

        :raises NoSuchEntry: nothing has that path. :raises NotADirectory: a file is in the way.
        """
        node: Node = self.root
        for name in path.split("/"):
            if not name:
                continue
            if not isinstance(node, DirNode):
                raise NotADirectory(f"{path!r}: a file has no entries")
            found = node.entries.get(name)
            if found is None:
                raise NoSuchEntry(f"no such file or folder: {path!r}")
            node = found
        return node

    def directory(self, path: str) -> DirNode:
        """The folder at ``path``. :raises NotADirectory: it is a file."""
        node = self.lookup(path)
        if not isinstance(node, DirNode):
            raise NotADirectory(f"{path!r} is a file")
        return node

    def file(self, path: str) -> FileNode:
        """The file at ``path``. :raises IsADirectory: it is a folder."""
        node = self.lookup(path)
        if not isinstance(node, FileNode):
            raise IsADirectory(f"{path!r} is a folder")
        return node


def flat_tree(names: Mapping[str, str]) -> Tree:
    """Layout ``flat``: every asset in the root.

    :param names: embed code to name, all different.
    """
    entries = {
        name: FileNode(embed_code, inode_of(embed_code))
        for embed_code, name in sorted(names.items(), key=lambda item: item[1])
    }
    return Tree(DirNode(ROOT_INODE, MappingProxyType(entries)))
