"""Folder times: when the entries of each folder last changed, the same after a re-mount.

The library says when assets were made and edited, not when one came into a folder or left it. So a
mount compares a digest of each folder's entries with the one before, and gives a folder whose
entries have changed the time at which that was noticed. Digests and times are saved in the catalog:
the next mount goes on from there, and notices what changed meanwhile.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping

from backlotfs.catalog.db import folders
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.folders import FolderTime
from backlotfs.catalog.db.rows import CatalogClosed
from backlotfs.concurrency.clock import Clock
from backlotfs.errors import BacklotError
from backlotfs.log import events

log = logging.getLogger(__name__)

#: `FolderTime.entries` of a folder whose listing was incomplete: it moves when that is complete.
INCOMPLETE = -1
#: Folders are not compared again within this time only because captions were found.
UPDATE_EVERY_S = 10.0


class FolderTimes:
    """The times of one view's folders. Any thread may call it; only `open` waits."""

    def __init__(self, db: CatalogDb, clock: Clock) -> None:
        """Know nothing yet: see `open`."""
        self._db = db
        self._clock = clock
        self._view = ""
        self._known: dict[int, FolderTime] = {}
        self._updated_at = -math.inf  # monotonic
        self._lock = threading.Lock()
        self._saving = threading.Lock()

    def open(self, view: str) -> None:
        """Begin with what earlier mounts have saved of a view; with nothing if that fails."""
        self._view = view
        try:
            self._known = self._db.read(folders.folder_times, view)
        except BacklotError as error:
            events.CATALOG_TROUBLE.log(log, reason=error)

    def of(self, inode: int) -> int | None:
        """The time of a folder; None: no such folder is known."""
        known = self._known.get(inode)
        return None if known is None else known.mtime_s

    @property
    def update_due(self) -> bool:
        """Whether the last `update` was some time ago."""
        return self._clock.monotonic() - self._updated_at >= UPDATE_EVERY_S

    def incomplete(self, inode: int) -> None:
        """Take note that a program was shown an incomplete listing of this folder."""
        with self._lock:
            known = self._known.get(inode)
            if known is not None:
                self._known[inode] = FolderTime(INCOMPLETE, known.mtime_s)

    def update(self, found: Mapping[int, FolderTime]) -> None:
        """Compare the folders as they are now with those before; what has changed is saved soon.

        :param found: every folder. The time is what a folder gets in a view that is new; in one
            that was saved before, a folder that is new has just been made.
        """
        now_s = int(self._clock.now())
        self._updated_at = self._clock.monotonic()
        with self._lock:
            before, self._known = self._known, _moved(self._known, found, now_s)
            changed = before != self._known
        if changed:
            threading.Thread(target=self._save, name="folder-times", daemon=True).start()

    def _save(self) -> None:
        with self._saving:
            with self._lock:
                known = dict(self._known)
            try:
                saved = self._db.write(folders.save_folder_times, self._view, known)
            except CatalogClosed:
                return
            except BacklotError as error:  # what is in memory is saved with the next change
                events.CATALOG_TROUBLE.log(log, reason=error)
                return
            with self._lock:  # another mount may have noticed a change a little later
                for inode, folder in saved.items():
                    if self._known.get(inode) == known.get(inode):
                        self._known[inode] = folder


def _moved(
    known: Mapping[int, FolderTime], found: Mapping[int, FolderTime], now_s: int
) -> dict[int, FolderTime]:
    """The folders that were found, with their times."""
    return {
        inode: _time_of(folder, known.get(inode), now_s, first=not known)
        for inode, folder in found.items()
    }


def _time_of(
    folder: FolderTime, before: FolderTime | None, now_s: int, *, first: bool
) -> FolderTime:
    if before is None:
        return folder._replace(mtime_s=min(folder.mtime_s, now_s) if first else now_s)
    if folder.entries in (before.entries, INCOMPLETE):
        return folder._replace(mtime_s=before.mtime_s)
    # also when the second, or the clock of this host, is the same or behind: a change is seen
    return folder._replace(mtime_s=max(now_s, before.mtime_s + 1))
