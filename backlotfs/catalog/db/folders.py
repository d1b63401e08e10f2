# SPDX-License-Identifier: Apache-2.0
"""When the entries of each folder last changed, as the mounts of a library have shown it.

A *view* is a way to show the library: layouts, names and filters. Two views have different folders,
so the times of each view are stored separately. The functions run in a transaction of
`connection.CatalogDb`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import NamedTuple

#: Number of views that are kept: those whose folders changed last. More are hardly ever used.
KEPT_VIEWS = 8


class FolderTime(NamedTuple):
    """A folder's entries and its time.

    :ivar entries: a digest of names and inode numbers, in any order; at least 0 and less than
        2**63. Below 0 (`shown_in_part`): a program was shown only a part of these entries.
    :ivar mtime_s: when the entries last changed, seconds since the epoch.
    """

    entries: int
    mtime_s: int


def shown_in_part(entries: int) -> int:
    """Mark a digest (below 0): a program was shown only a part of these entries."""
    return min(entries, ~entries)


def folder_times(connection: sqlite3.Connection, view: str) -> dict[int, FolderTime]:
    """The folders of a view by inode number; empty for a view that was never saved."""
    found = connection.execute(
        "SELECT inode, entries, mtime_s FROM folder_time WHERE view = ?", (view,)
    )
    return {inode: FolderTime(entries, mtime_s) for inode, entries, mtime_s in found}


def save_folder_times(
    connection: sqlite3.Connection,
    view: str,
    known: Mapping[int, FolderTime],
    changed: Collection[int],
) -> dict[int, FolderTime]:
    """Save the folders of a view that have changed; returns them as they are saved.

    The other folders are not written, because another mount may have saved newer ones. A view that
    is not stored yet is saved completely.

    :param changed: inode numbers; those that are not in ``known`` are removed.
    """
    stored = folder_times(connection, view)
    saved = {
        inode: _never_back(known[inode], stored.get(inode))
        for inode in (changed if stored else known)
        if inode in known
    }
    connection.executemany(
        "DELETE FROM folder_time WHERE view = ? AND inode = ?",
        [(view, inode) for inode in changed if inode in stored and inode not in known],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO folder_time (view, inode, entries, mtime_s) VALUES (?, ?, ?, ?)",
        [(view, inode, *now) for inode, now in saved.items()],
    )
    if not stored:
        connection.execute(
            "DELETE FROM folder_time WHERE view IN (SELECT view FROM folder_time WHERE view <> ?"
            " GROUP BY view ORDER BY max(mtime_s) DESC LIMIT -1 OFFSET ?)",
            (view, KEPT_VIEWS - 1),
        )
    return saved


def _never_back(folder: FolderTime, stored: FolderTime | None) -> FolderTime:
    """The folder with a time that is not earlier than the saved one."""
    if stored is None or stored.mtime_s <= folder.mtime_s:
        return folder
    return (
        stored if stored.entries == folder.entries else folder._replace(mtime_s=stored.mtime_s + 1)
    )
