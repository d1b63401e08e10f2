# SPDX-License-Identifier: Apache-2.0
"""Folder times: when the entries of each folder last changed, the same after a re-mount.

The library has the times when assets were made and edited, but not when an asset was added to a
folder or removed from it. So a mount compares a digest of each folder's entries with the previous
digest. If it differs, the folder's time becomes the time of this comparison. Digests and times are
saved in the catalog, so the next mount notices changes since then. If another mount of the library
has already saved the same change, its time is used.
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

#: If only captions were found, folders are compared again after this time at the earliest.
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
        """Load the times of a view that earlier mounts saved; none if they cannot be read."""
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
        """Note that a program was shown only a part of this folder.

        The folder's time changes when the folder is complete. Until then, `update` gets a digest of
        the form `shown_in_part` for it.
        """
        with self._lock:
            known = self._known.get(inode)
            if known is None or known.entries < 0:
                return
            self._known[inode] = known._replace(entries=shown_in_part(known.entries))
            self._unsaved.add(inode)
        self._save_soon()

    def update(self, found: Mapping[int, FolderTime]) -> None:
        """Compare the folders with their previous state; a thread saves the changes.

        :param found: all folders. Their times are used only for a view that was never saved before;
            in a saved view, a new folder gets the present time.
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
        """Whether the entries have changed, or a folder that was shown in part is complete now."""
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
        except RuntimeError:  # the system has no thread left: the next change saves this one too
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
            with self._lock:  # another mount may have saved a later time of the same change
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
    # the time grows with each change, also within one second and if this host's clock is behind
    return folder._replace(mtime_s=max(now_s, before.mtime_s + 1))
