# SPDX-License-Identifier: Apache-2.0
"""The layouts once more, as short and as slow as they can be said."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from backlotfs.api.records import Label
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.config.settings import NameMode
from backlotfs.namespace.naming import distinct, key, legal, tag

Path = tuple[str, ...]


def reference(
    layouts: Sequence[str],
    rows: Sequence[AssetRow],
    labels: Sequence[Label],
    members: Mapping[str, Sequence[str]],
    mode: NameMode,
) -> tuple[dict[Path, str], set[Path]]:
    """Path to embed code of the files, and the paths of the folders."""
    wanted: list[tuple[Path, str, AssetRow]] = []
    folders: set[Path] = {()}
    for layout in layouts:
        top = (layout,) if len(layouts) > 1 else ()
        label_paths = label_folders(labels, mode) if layout == "labels" else {}
        folders |= {top, *((*top, *path) for path in label_paths.values())}
        if layout == "labels":
            folders.add((*top, "Unlabeled"))
        for row in rows:
            own = [
                path for id, path in label_paths.items() if row.embed_code in members.get(id, ())
            ]
            date = time.gmtime(row.created_at_s)
            month = (
                (f"{date.tm_year:04}", f"{date.tm_mon:02}") if row.created_at_s else ("undated",)
            )
            wanted += {
                "flat": [(top, row.name, row)],
                "dates": [((*top, *month), row.name, row)],
                "by-id": [(top, legal(mode, by_id_name(row)), row)],
                "labels": [((*top, *path), row.name, row) for path in own or [("Unlabeled",)]],
            }[layout]
    folders |= {path[:end] for path, _, _ in wanted for end in range(len(path) + 1)}
    folder_keys: dict[Path, set[str]] = {path: set() for path in folders}
    for path in folders - {()}:
        folder_keys[path[:-1]].add(key(mode, path[-1]))

    def turn(place: tuple[Path, str, AssetRow]) -> tuple[bool, int, str]:
        path, name, row = place
        return key(mode, name) in folder_keys[path], row.created_at_s, row.embed_code

    files: dict[Path, str] = {}
    taken = {path: set(keys) for path, keys in folder_keys.items()}
    for path, name, row in sorted(wanted, key=turn):
        final = distinct(mode, name, row.embed_code, taken[path])
        taken[path].add(key(mode, final))
        files[*path, final] = row.embed_code
    return files, folders - {()}


def by_id_name(row: AssetRow) -> str:
    """The embed code and what is behind the last dot, if that is short and plain."""
    stem, _, last = row.name.rpartition(".")
    plain = last.isascii() and last.replace("-", "a").replace("_", "a").isalnum()
    return row.embed_code + (f".{last}" if stem and plain and len(last) <= 16 else "")


def label_folders(labels: Sequence[Label], mode: NameMode) -> dict[str, Path]:
    """Label id to path: each label asks for its parents anew, the smallest id is named first."""
    by_id = {label.id: label for label in labels}

    def parent(id: str) -> str | None:
        above, at = [id], by_id[id].parent_id
        while at in by_id and at not in above:
            above.append(at)
            at = by_id[at].parent_id
        cut_here = at == id == min(above)
        return by_id[id].parent_id if by_id[id].parent_id in by_id and not cut_here else None

    taken: dict[str | None, set[str]] = {None: {key(mode, "Unlabeled")}}
    names = {}
    for id in sorted(by_id):
        wanted = legal(mode, by_id[id].name if by_id[id].name.strip() else tag(id))
        names[id] = distinct(mode, wanted, id, taken.setdefault(parent(id), set()))
        taken[parent(id)].add(key(mode, names[id]))

    def path(id: str) -> Path:
        above = parent(id)
        return (*(path(above) if above is not None else ()), names[id])

    return {id: path(id) for id in by_id}
