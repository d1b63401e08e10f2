"""Where assets are in the folders of a layout, and what is at a path. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from backlotfs.catalog.db.rows import AssetRow
from backlotfs.errors import NoSuchEntry, NotADirectory
from backlotfs.namespace.layouts import Folder

Node = Folder[AssetRow] | AssetRow


def node_at(root: Folder[AssetRow], path: str) -> Node:
    """What a path leads to. :raises NoSuchEntry, NotADirectory: to nothing."""
    direct = root.entries.get(path[1:])
    if direct is not None:
        return direct
    node: Node = root
    for name in path.split("/"):
        if not name:
            continue
        if not isinstance(node, Folder):
            raise NotADirectory(f"{path!r}: a file has no entries")
        found = node.entries.get(name)
        if found is None:
            raise NoSuchEntry(f"no such file or folder: {path!r}")
        node = found
    return node


def codes_below(root: Folder[AssetRow], path: str) -> set[str]:
    """The embed codes of the file at this path, or of all files below the folder.

    :raises NoSuchEntry, NotADirectory: there is nothing.
    """
    return {row.embed_code for _, row in _files("", node_at(root, path))}


def paths_of(root: Folder[AssetRow], embed_codes: Collection[str]) -> dict[str, list[str]]:
    """Every place of these assets; those that have none are left out."""
    found: dict[str, list[str]] = {}
    for path, row in _files("", root):
        if row.embed_code in embed_codes:
            found.setdefault(row.embed_code, []).append(path)
    return found


def _files(path: str, node: Node) -> Iterator[tuple[str, AssetRow]]:
    if not isinstance(node, Folder):
        yield path, node
        return
    for name, entry in node.entries.items():
        yield from _files(f"{path}/{name}", entry)
