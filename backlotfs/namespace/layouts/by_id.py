"""Layout ``by-id``: ``<embed_code><extension>``, for scripts that know the embed code."""

from __future__ import annotations

import re
from collections.abc import Collection

from backlotfs.namespace.layouts.folder import Folder, R
from backlotfs.namespace.name_modes import NameMode, distinct, key, portable, tag

#: As `naming.fit` has it: short and plain.
_EXTENSION = re.compile(r"[A-Za-z0-9_-]{1,16}")


def fill_by_id(root: Folder[R], rows: Collection[R], mode: NameMode) -> None:
    """Puts every asset into ``root``."""
    names = (tag(row.embed_code) + extension(row.name) for row in rows)
    if mode is not NameMode.PORTABLE:
        root.entries = dict(zip(names, rows, strict=True))
        return
    names_of = dict(zip((row.embed_code for row in rows), map(portable, names), strict=True))
    # ids can be alike but for case
    taken: set[str] = set()
    for row in sorted(rows, key=lambda row: (row.created_at_s, row.embed_code)):
        name = distinct(mode, names_of[row.embed_code], row.embed_code, taken)
        taken.add(key(mode, name))
        root.entries[name] = row


def extension(name: str) -> str:
    """With its dot; ``""`` when the name has none."""
    stem, _, last = name.rpartition(".")
    return f".{last}" if stem and _EXTENSION.fullmatch(last) else ""
