"""Rows and labels made for tests, and a layout as a dict of paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from backlotfs.api.records import Label
from backlotfs.namespace.layouts import Folder, Layout, build
from backlotfs.namespace.name_modes import NameMode

#: 2013-01-31 23:59:59 UTC.
JANUARY_S = 1_359_676_799


class MadeRow(NamedTuple):
    """What a layout needs of an asset, and no more."""

    embed_code: str
    inode: int
    name: str
    created_at_s: int


class MadeAsset(NamedTuple):
    """What a name is made from."""

    embed_code: str
    original_file_name: str | None = None
    title: str = ""
    created_at_s: int = 0


def made_row(embed_code: str, name: str | None = None, created_at_s: int = JANUARY_S) -> MadeRow:
    """A row with an inode of its own."""
    inode = int.from_bytes(embed_code.encode(), "big") + 2
    return MadeRow(embed_code, inode, f"{embed_code}.mov" if name is None else name, created_at_s)


def made_label(id: str, name: str, parent_id: str | None = None) -> Label:
    """A label whose full name leads astray."""
    return Label(id=id, name=name, full_name=f"/wrong/{name}/way", parent_id=parent_id)


def built(
    layouts: str | Sequence[str],
    rows: Sequence[MadeRow],
    labels: Sequence[Label] = (),
    members: Mapping[str, Sequence[str]] | None = None,
    names: NameMode = NameMode.ORIGINAL,
) -> Layout[MadeRow]:
    """`build` with less to write."""
    chosen = [layouts] if isinstance(layouts, str) else layouts
    return build(chosen, rows, labels, members or {}, names=names)


def files(layout: Layout[MadeRow]) -> dict[tuple[str, ...], str]:
    """Path to embed code, of every file."""
    return {
        (*path, name): entry.embed_code
        for path, folder in walked(layout)
        for name, entry in folder.entries.items()
        if not isinstance(entry, Folder)
    }


def folders(layout: Layout[MadeRow]) -> set[tuple[str, ...]]:
    """The path of every folder, the root left out."""
    return {path for path, _ in walked(layout) if path}


def walked(layout: Layout[MadeRow]) -> list[tuple[tuple[str, ...], Folder[MadeRow]]]:
    """Every folder with its path."""
    found: list[tuple[tuple[str, ...], Folder[MadeRow]]] = [((), layout.root)]
    for path, folder in found:  # grows while it is read
        found.extend(
            ((*path, name), entry)
            for name, entry in folder.entries.items()
            if isinstance(entry, Folder)
        )
    return found


def folder_at(layout: Layout[MadeRow], *path: str) -> Folder[MadeRow]:
    """The folder with this path."""
    return dict(walked(layout))[path]
