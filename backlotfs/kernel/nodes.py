# SPDX-License-Identifier: Apache-2.0
"""The nodes of the session: the number by which the kernel knows a folder, or a version of a file.

**A version is a node.** The kernel keeps pages, size and mappings by node. So another version of a
source gets another node number, and the pages of two versions never mix. ``st_ino`` is the asset's
inode number in both.

Numbers. A folder's node is always its inode number. A file's node is its inode number too, until
its source is replaced while the kernel knows the node: then the node is *retired*. A retired node
keeps its version, for the open files and mappings that use it, and the next look-up gives the file
a new number, from `_FIRST_NUMBER` on. An open of a retired node fails with ESTALE, so the kernel
looks the name up again and opens the new node. The node of an open virtual file is retired too when
the file has other bytes: programs that have it open or mapped keep the old bytes until the last
release.

References. The kernel counts the look-ups of each node, and forgets them some time later. A node
is removed when all its look-ups are forgotten.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from backlotfs.catalog.db.rows import AssetRow, inode_of
from backlotfs.catalog.versions import ProbedSource
from backlotfs.errors import ContentChanged, NoSuchEntry
from backlotfs.namespace.attributes import Attributes
from backlotfs.namespace.namespace import Found, Namespace, Place
from backlotfs.namespace.tree import Entry, VirtualVersion
from backlotfs.source.version import SourceVersion

#: Numbers of nodes that are not inode numbers, which have 63 bits.
_FIRST_NUMBER = 1 << 63


class StaleNode(ContentChanged):
    """A node of a replaced version is opened: the kernel looks the name up again."""

    quiet = True


class _Place(NamedTuple):
    """The place of a virtual file or folder: its folder's node, and its name there."""

    parent: int
    name: str


class NodeTable:
    """The nodes that the kernel knows. Any thread may call it; no call waits."""

    def __init__(self, namespace: Namespace) -> None:
        """Start with the root only."""
        self._namespace = namespace
        self._lock = threading.Lock()
        self._lookups: dict[int, int] = {}
        self._virtual: dict[int, tuple[_Place, ...]] = {}  # of virtual files and folders
        self._opened: dict[int, SourceVersion] = {}  # nodes that may have pages
        self._open: Counter[int] = Counter()  # how many handles are open on a node
        self._shown: dict[int, VirtualVersion] = {}  # of virtual files that are open
        self._retired: dict[int, ProbedSource | None] = {}  # None: a virtual file
        self._numbered: dict[int, int] = {}  # inode number → node, if they differ
        self._inodes: dict[int, int] = {}  # node → inode number, if they differ
        self._numbers = itertools.count(_FIRST_NUMBER)

    def __len__(self) -> int:
        return len(self._lookups)

    # --- from a node

    def found(self, node: int) -> Found:
        """The current folder or file of a node.

        :raises StaleNode: the node is retired. :raises NoSuchEntry: the folder or file is gone.
        """
        if node in self._retired:
            raise StaleNode(f"node {node} was replaced")
        return self.successor(node)

    def successor(self, node: int) -> Found:
        """The current folder or file of a node; of a retired node that is open, its successor.

        :raises StaleNode: the node is retired and not open.
        :raises NoSuchEntry: the folder or file is gone.
        """
        if node in self._retired and not self._open[node]:
            raise StaleNode(f"node {node} was replaced")
        found = self._namespace.in_tree(self._inodes.get(node, node))
        if found is not None:
            return found
        for parent, name in self._places(node):
            with contextlib.suppress(NoSuchEntry):
                return self.child(parent, name)
        raise NoSuchEntry(f"node {node} is not there any more")

    def retired(self, node: int) -> ProbedSource | None:
        """The version of a source whose retired node is open; None for a node that is not retired.

        :raises StaleNode: it is retired and not open.
        """
        if node in self._retired and not self._open[node]:
            raise StaleNode(f"node {node} was replaced")
        return self._retired.get(node)

    def version_before(self, node: int, now: Attributes) -> ProbedSource | None:
        """The version of a node, if its asset has other attributes ``now``; else None.

        The node is retired, or was opened before the size of its source was forgotten.
        """
        retired = self._retired.get(node)
        if retired is not None or now.settled:
            return retired
        opened = self._opened.get(node)
        if opened is None or opened.size == now.size:
            return None
        return ProbedSource(opened, opened.last_modified_s or 0, verified=False)

    def is_retired(self, node: int) -> bool:
        """Whether the node is retired, because its file has another version now."""
        return node in self._retired

    def child(self, parent: int, name: str) -> Found:
        """Look up a name in a folder. :raises NoSuchEntry: there is none, or no such folder."""
        place = self._namespace.place(parent)
        if place is not None:
            return self._namespace.child(place, name)
        return self._namespace.find(f"{self._path(parent)}/{name}")

    def _path(self, folder: int) -> str:
        place: Place | None = self._namespace.place(folder)
        if place is not None:
            return place.path
        for parent, name in self._places(folder):
            return f"{self._path(parent)}/{name}"
        raise NoSuchEntry(f"node {folder} is not known any more")

    def _places(self, node: int) -> tuple[_Place, ...]:
        return self._virtual.get(node, ())

    # --- to a node

    def refer(self, parent: int, entries: Iterable[Entry]) -> list[int]:
        """Give the kernel one reference to each of these entries of a folder; return the nodes."""
        nodes: list[int] = []
        with self._lock:
            numbered, lookups = self._numbered, self._lookups
            for name, inode, _, in_tree in entries:
                node = numbered.get(inode, inode) if numbered else inode
                if not in_tree:  # a sidecar is in each folder that has its source
                    here, known = _Place(parent, name), self._places(node)
                    if here not in known:
                        self._virtual[node] = (*known, here)
                lookups[node] = lookups.get(node, 0) + 1
                nodes.append(node)
        return nodes

    def forget(self, node: int, count: int) -> None:
        """Remove this number of references, which the kernel has forgotten."""
        with self._lock:
            left = self._lookups.get(node, 0) - count
            if left > 0:
                self._lookups[node] = left
                return
            self._lookups.pop(node, None)
            inode = self._inodes.pop(node, node)
            number = self._numbered.get(inode)
            if number is not None:
                if inode in self._lookups or number in self._lookups:
                    self._inodes[number] = inode
                else:
                    del self._numbered[inode]
                    self._inodes.pop(number, None)
            self._virtual.pop(node, None)
            self._opened.pop(node, None)
            self._retired.pop(node, None)

    def is_known(self, node: int) -> bool:
        """Whether the kernel has references to a node."""
        return node in self._lookups

    def node_of(self, row: AssetRow) -> int | None:
        """The node of an asset, if the kernel knows it."""
        node = self._numbered.get(row.inode, row.inode)
        return node if node in self._lookups else None

    # --- versions

    def bind(self, node: int, version: SourceVersion) -> bool:
        """Count an open of a node with this version; False if the node has another version.

        After False the node is retired: the kernel has to look the name up again.
        """
        with self._lock:
            if node in self._retired:
                return False
            before = self._opened.setdefault(node, version)
            if before.validator == version.validator:
                self._open[node] += 1
                return True
            self._retire(node, ProbedSource(before, before.last_modified_s or 0, verified=False))
            return False

    def bind_virtual(self, node: int, version: VirtualVersion) -> bool:
        """Count an open of a virtual file; False if the node is open with other bytes.

        After False the node is retired: the kernel has to look the name up again.
        """
        with self._lock:
            if node in self._retired:
                return False
            if self._shown.setdefault(node, version).content == version.content:
                self._open[node] += 1
                return True
            self._renumber(node, None)
            return False

    def opened_virtual(self, node: int) -> Attributes | None:
        """The attributes of a virtual file at its first open; None if it is not open."""
        shown = self._shown.get(node)
        return None if shown is None else shown.attributes

    def follow_virtual(self, inode: int, now: Callable[[], Attributes]) -> None:
        """Retire the node of a virtual file that is open with other attributes than it has now."""
        node = self._numbered.get(inode, inode)
        opened = self.opened_virtual(node)
        if opened is not None and now() != opened:
            with self._lock:
                if node in self._shown and node not in self._retired:
                    self._renumber(node, None)

    def closed(self, node: int) -> None:
        """Count the release of a handle that `bind` or `bind_virtual` counted."""
        with self._lock:
            self._open[node] -= 1
            if self._open[node] <= 0:
                del self._open[node]
                self._shown.pop(node, None)

    def retire(self, embed_code: str, before: ProbedSource) -> bool:
        """Let the node of an asset keep the version ``before``, because the source was replaced.

        :return: whether the kernel knows the node, so that the asset's names have to be
            invalidated.
        """
        row = self._namespace.row(embed_code)
        inode = inode_of(embed_code) if row is None else row.inode
        with self._lock:
            node = self._numbered.get(inode, inode)
            if node not in self._lookups:
                return False
            self._retire(node, before)
            return True

    def _retire(self, node: int, before: ProbedSource) -> None:
        opened = self._opened.get(node)
        if opened is not None and opened.validator != before.version.validator:
            before = ProbedSource(opened, opened.last_modified_s or 0, verified=False)
        self._renumber(node, before)

    def _renumber(self, node: int, before: ProbedSource | None) -> None:
        """Retire a node; the next look-up gives its file a new one. Call with the lock held."""
        self._retired[node] = before
        inode, number = self._inodes.get(node, node), next(self._numbers)
        self._numbered[inode], self._inodes[number] = number, inode
