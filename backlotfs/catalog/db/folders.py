"""When the entries of each folder last changed, as the mounts of a library have shown it.

A *view* is a way to show the library: layouts, names and filters. Two views have different folders,
so each has times of its own. The functions run in a transaction of `connection.CatalogDb`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

#: So many views are kept, those whose folders changed last: nobody uses more options than that.
KEPT_VIEWS = 8


class FolderTime(NamedTuple):
    """A folder's entries and its time.

    :ivar entries: a digest of names and inode numbers, in any order; less than 2**63.
    :ivar mtime_s: when they last changed, seconds since the epoch.
    """

    entries: int
    mtime_s: int


def folder_times(connection: sqlite3.Connection, view: str) -> dict[int, FolderTime]:
    """The folders of a view by inode number; empty for a view that was never saved."""
    found = connection.execute(
        "SELECT inode, entries, mtime_s FROM folder_time WHERE view = ?", (view,)
    )
    return {inode: FolderTime(entries, mtime_s) for inode, entries, mtime_s in found}


def save_folder_times(
    connection: sqlite3.Connection, view: str, known: Mapping[int, FolderTime]
) -> dict[int, FolderTime]:
    """Make these the folders of a view; returns them as they are saved.

    Where another mount has saved the same entries with a later time, that time stays.
    """
    stored = folder_times(connection, view)
    merged = {inode: _later(folder, stored.get(inode)) for inode, folder in known.items()}
    connection.executemany(
        "DELETE FROM folder_time WHERE view = ? AND inode = ?",
        [(view, inode) for inode in stored.keys() - merged.keys()],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO folder_time (view, inode, entries, mtime_s) VALUES (?, ?, ?, ?)",
        [(view, inode, *now) for inode, now in merged.items() if now != stored.get(inode)],
    )
    if not stored:
        connection.execute(
            "DELETE FROM folder_time WHERE view IN (SELECT view FROM folder_time WHERE view <> ?"
            " GROUP BY view ORDER BY max(mtime_s) DESC LIMIT -1 OFFSET ?)",
            (view, KEPT_VIEWS - 1),
        )
    return merged


def _later(folder: FolderTime, stored: FolderTime | None) -> FolderTime:
    if stored is None or stored.entries != folder.entries:
        return folder
    return max(folder, stored)
