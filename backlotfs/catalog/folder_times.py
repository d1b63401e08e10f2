# SPDX-License-Identifier: Apache-2.0
"""Folder times: when the entries of each folder last changed, the same after a re-mount.

The library says when assets were made and edited, not when one came into a folder or left it. So a
mount compares a digest of each folder's entries with the one before, and gives a folder whose
entries have changed the time at which that was noticed. Digests and times are saved in the catalog:
the next mount goes on from there, and notices what changed meanwhile. If another mount of the
library has noticed the same change before, its time is used.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping

from backlotfs.catalog.db import folders
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.folders import FolderTime, shown_in_part
from backlotfs.catalog.db.rows import CatalogClosed
from backlotfs.concurrency.clock import Clock
from backlotfs.errors import BacklotError
from backlotfs.log import events

log = logging.getLogger(__name__)

#: Folders are not compared again within this time only because captions were found.
UPDATE_EVERY_S = 10.0


class FolderTimes:
    """The times of one view's folders. Any thread may call it; only `open` and `close` wait long.

    `update` reads the catalog if a folder has changed.
    """

    def __init__(self, db: CatalogDb, clock: Clock) -> None:
        """Know nothing yet: see `open`."""
        self._db = db
        self._clock = clock
        self._view = ""
        self._known: dict[int, FolderTime] = {}
        self._unsaved: set[int] = set()  # also folders that are gone
        self._save_due = False  # a thread is about to save what is unsaved
        self._updated_at = -math.inf  # monotonic
        self._lock = threading.Lock()
        self._saving = threading.Lock()

    def open(self, view: str) -> None:
        """Begin with what earlier mounts have saved of a view; with nothing if that fails."""
        self._view = view
        self._known = self._stored()

    def of(self, inode: int) -> int | None:
        """The time of a folder; None: no such folder is known."""
        known = self._known.get(inode)
        return None if known is None else known.mtime_s

    @property
    def update_due(self) -> bool:
        """Whether the last `update` was some time ago."""
        return self._clock.monotonic() - self._updated_at >= UPDATE_EVERY_S

    def incomplete(self, inode: int) -> None:
        """Take note that a program was shown a part of this folder: it moves when it is complete.

        As long as it is not, `update` is told so by the folder's digest (`shown_in_part`).
        """
        with self._lock:
            known = self._known.get(inode)
            if known is None or known.entries < 0:
                return
            self._known[inode] = known._replace(entries=shown_in_part(known.entries))
            self._unsaved.add(inode)
        self._save_soon()

    def update(self, found: Mapping[int, FolderTime]) -> None:
        """Compare the folders as they are now with those before; what has changed is saved soon.

        :param found: every folder. The time is what a folder gets in a view that is new; in one
            that was saved before, a folder that is new has just been made.
        """
        now_s = int(self._clock.now())
        self._updated_at = self._clock.monotonic()
        moved = {inode for inode, folder in found.items() if self._moves(inode, folder)}
        stored = self._stored() if moved else {}
        with self._lock:
            before, after = self._known, {}
            first = not before and not stored
            for inode, folder in found.items():
                known = before.get(inode)
                if inode in moved:
                    folder = _time_of(folder, known, stored.get(inode), now_s, first=first)
                elif known is not None:
                    folder = folder._replace(mtime_s=known.mtime_s)
                after[inode] = folder
                if folder != known:
                    self._unsaved.add(inode)
            self._unsaved |= before.keys() - after.keys()
            self._known = after
            changed = bool(self._unsaved)
        if changed:
            self._save_soon()

    def close(self) -> None:
        """Save what is not saved yet, on the calling thread."""
        self._save()

    def _moves(self, inode: int, folder: FolderTime) -> bool:
        """Whether the entries are others than before, or all are shown after a part was."""
        before = self._known.get(inode)
        if before is None:
            return True
        return folder.entries not in (before.entries, shown_in_part(before.entries))

    def _stored(self) -> dict[int, FolderTime]:
        try:
            return self._db.read(folders.folder_times, self._view)
        except CatalogClosed:  # the mount ends
            return {}
        except BacklotError as error:
            events.CATALOG_TROUBLE.log(log, reason=error)
            return {}

    def _save_soon(self) -> None:
        with self._lock:
            if self._save_due:
                return
            self._save_due = True
        try:
            threading.Thread(target=self._save, name="folder-times", daemon=True).start()
        except RuntimeError:  # the system has no thread left: saved with the next change
            self._save_due = False
            events.NO_THREAD.log(log, pool="folder-times")

    def _save(self) -> None:
        with self._saving:
            with self._lock:
                known, unsaved = self._known.copy(), self._unsaved
                self._unsaved, self._save_due = set(), False
            if not unsaved:
                return
            try:
                saved = self._db.write(folders.save_folder_times, self._view, known, unsaved)
            except CatalogClosed:
                return
            except BacklotError as error:  # saved with the next change, or at the end of the mount
                with self._lock:
                    self._unsaved |= unsaved
                events.CATALOG_TROUBLE.log(log, reason=error)
                return
            with self._lock:  # another mount may have noticed a change a little later
                for inode, folder in saved.items():
                    if self._known.get(inode) == known.get(inode):
                        self._known[inode] = folder


def _time_of(
    folder: FolderTime,
    before: FolderTime | None,
    stored: FolderTime | None,
    now_s: int,
    *,
    first: bool,
) -> FolderTime:
    """A folder whose entries have changed, with its new time."""
    shown_s = -math.inf if before is None else before.mtime_s
    if stored is not None and stored.entries == folder.entries and stored.mtime_s > shown_s:
        return stored  # another mount has noticed the same change
    if before is None:
        return folder._replace(mtime_s=min(folder.mtime_s, now_s) if first else now_s)
    # also when the second, or the clock of this host, is the same or behind: a change is seen
    return folder._replace(mtime_s=max(now_s, before.mtime_s + 1))
