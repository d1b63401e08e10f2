# SPDX-License-Identifier: Apache-2.0
"""Rows and labels made for tests, and a layout as a dict of paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from backlotfs.api.records import Label
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.db.table import AssetTable
from backlotfs.config.settings import NameMode
from backlotfs.namespace.layouts import Layout, build
from backlotfs.namespace.tree import Folder
from tests.fakes.records import row

#: 2013-01-31 23:59:59 UTC.
JANUARY_S = 1_359_676_799


class MadeAsset(NamedTuple):
    """What a name is made from."""

    embed_code: str
    original_file_name: str | None = None
    title: str = ""
    created_at_s: int = 0


def made_row(embed_code: str, name: str | None = None, created_at_s: int = JANUARY_S) -> AssetRow:
    """A row that is called like its embed code."""
    name = f"{embed_code}.mov" if name is None else name
    return row(embed_code, name, created_at_s=created_at_s)


def made_label(id: str, name: str, parent_id: str | None = None) -> Label:
    """A label whose full name leads astray."""
    return Label(id=id, name=name, full_name=f"/wrong/{name}/way", parent_id=parent_id)


def built(
    layouts: str | Sequence[str],
    rows: Sequence[AssetRow],
    labels: Sequence[Label] = (),
    members: Mapping[str, Sequence[str]] | None = None,
    names: NameMode = NameMode.ORIGINAL,
    *,
    empty_labels: bool = True,
) -> Layout:
    """`build` with less to write."""
    chosen = [layouts] if isinstance(layouts, str) else layouts
    table = AssetTable(rows)
    return build(chosen, table, labels, members or {}, names=names, empty_labels=empty_labels)


def files(layout: Layout) -> dict[tuple[str, ...], str]:
    """Path to embed code, of every file."""
    return {
        (*path, name): code
        for path, folder in walked(layout)
        for (name, _), code in zip(folder.files(), codes(folder), strict=True)
    }


def codes(folder: Folder) -> list[str]:
    """The embed codes of the files of a folder."""
    return list(folder.assets.codes(folder.inodes()))


def links(layout: Layout) -> dict[str, int]:
    """Embed code to the number of paths, of assets with several."""
    codes = layout.root.assets.codes(layout.nlink)
    return dict(zip(codes, layout.nlink.values(), strict=True))


def folders(layout: Layout) -> set[tuple[str, ...]]:
    """The path of every folder, the root left out."""
    return {path for path, _ in walked(layout) if path}


def walked(layout: Layout) -> list[tuple[tuple[str, ...], Folder]]:
    """Every folder with its path."""
    found: list[tuple[tuple[str, ...], Folder]] = [((), layout.root)]
    for path, folder in found:  # grows while it is read
        found.extend(
            ((*path, name), entry)
            for name, entry in folder.entries.items()
            if isinstance(entry, Folder)
        )
    return found


def folder_at(layout: Layout, *path: str) -> Folder:
    """The folder with this path."""
    return dict(walked(layout))[path]
