# SPDX-License-Identifier: Apache-2.0
"""Presigned URLs that survive a restart: one small SQLite file for each library.

A presigned URL may cost one API credit and is valid for days, so the next mount uses the URLs of
the last one. Whoever can read the file can download the sources until the URLs expire. So the file
(mode 0600) is apart from the catalog, in a folder of its own (mode 0700). A CACHEDIR.TAG makes
backup programs leave the folder out.

Theory of operation. `put` and `drop` only note the change. A thread writes the noted changes in
one transaction, `WRITE_AFTER_S` later at most, so a crash loses no more than that. Because of the
rollback journal, the file is intact after a SIGKILL at any moment.

Several mounts of one library share the file:

=====================  =========================================================================
lock file              every mount holds a shared lock; the file is created and removed only under
                       the exclusive lock, because SQLite finds its journal by name
put                    replaces an entry of the file only if the API was asked for the new URL
                       later than for the old one, or later than the old one was dropped
drop                   leaves an entry without a URL for an hour: another mount may have asked for
                       a URL before the drop, and must not put it back after the drop
drop of a given URL    does nothing if the file holds another URL by now
=====================  =========================================================================
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

from backlotfs.api.records import SignedUrl
from backlotfs.concurrency.clock import Clock, SystemClock
from backlotfs.concurrency.private_sqlite import PrivateSqliteFile, transaction
from backlotfs.log import events
from backlotfs.trusted_paths import UntrustedPath, make_cache_tag

log = logging.getLogger(__name__)

#: A change is written this long after it was noted: a crash loses no more.
WRITE_AFTER_S = 0.5
#: A file that could not be written (disk full) is tried again after this long.
RETRY_AFTER_S = 30.0
#: Expired entries are removed this often while the mount runs.
PRUNE_INTERVAL_S = 600.0
#: Most entries in the file: the newest. At about 400 bytes each this is 20 MB.
MAX_ENTRIES = 50_000
#: Longer URLs are not kept, so that the file stays small.
MAX_URL_LENGTH = 4096
#: How long a drop is remembered for the sake of other mounts' writes.
DROP_REMEMBERED_S = 3600.0

#: "BLFU": marks a SQLite file as one of ours.
_APPLICATION_ID = 0x424C4655
_VERSION = 1
_SCHEMA = """CREATE TABLE presigned_url (
    embed_code TEXT PRIMARY KEY,
    url TEXT,                     -- null: dropped
    expires_at_s REAL NOT NULL,   -- of the URL; for a dropped one, how long that is remembered
    file_size INTEGER,
    as_of_s REAL NOT NULL,        -- server's clock: the URL names what the source was then
    changed_at_s REAL NOT NULL    -- our clock: when the API was asked, or the URL was dropped
)"""
_PUT = """INSERT INTO presigned_url VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (embed_code) DO UPDATE SET url = excluded.url, expires_at_s = excluded.expires_at_s,
        file_size = excluded.file_size, as_of_s = excluded.as_of_s,
        changed_at_s = excluded.changed_at_s
    WHERE excluded.changed_at_s > presigned_url.changed_at_s"""
_DROP = """INSERT INTO presigned_url VALUES (?, NULL, ?, NULL, 0, ?)
    ON CONFLICT (embed_code) DO UPDATE SET url = NULL, expires_at_s = excluded.expires_at_s,
        file_size = NULL, as_of_s = 0, changed_at_s = excluded.changed_at_s"""
_DROP_GIVEN = """UPDATE presigned_url SET url = NULL, expires_at_s = ?, file_size = NULL,
    as_of_s = 0, changed_at_s = ? WHERE embed_code = ? AND url = ?"""

#: Longest wait for another mount that writes or opens the file; it needs milliseconds.
_TIMEOUT_S = 5.0
_END_S = 10.0
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
#: A short form of `SignedUrl.parse`, which takes too long for ten thousand URLs at once.
_SENDABLE = re.compile(r"https?://[!-~]+")


class SavedUrl(NamedTuple):
    """One kept URL.

    :ivar file_size: in bytes, as the API gave it with the URL; None if it gave none.
    :ivar as_of_s: the URL names the object that was the source at this time of the server's clock.
    """

    url: SignedUrl
    file_size: int | None
    as_of_s: float


class _Put(NamedTuple):
    saved: SavedUrl
    expires_at_s: float
    changed_at_s: float


class _Drop(NamedTuple):
    url: str | None  # None: whatever URL the file holds
    changed_at_s: float


class _UnusableFile(Exception):
    """The file is not one of ours."""


class SavedUrls:
    """The presigned URLs of one library in a file. Any thread may call it; `put` never waits.

    If the file cannot be used, nothing is raised. A line in the log says why, and this mount keeps
    its URLs in memory only.
    """

    def __init__(self, path: Path, clock: Clock, *, max_entries: int = MAX_ENTRIES) -> None:
        """Open the file, or make it with its folder; read the URLs that have not expired.

        :param path: the file; its folder holds nothing but such files.
        """
        self._path = path
        self._clock = clock
        self._max_entries = max_entries
        self._lock = threading.Lock()  # guards _pending, _thread, _closed
        self._pending: dict[str, _Put | _Drop] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._io = threading.Lock()  # guards what follows
        self._file = _file(path, clock)
        self._connection: sqlite3.Connection | None = None
        self._pruned_at = clock.monotonic()
        self._loaded: dict[str, SavedUrl] = {}
        try:
            self._open()
        except (OSError, sqlite3.Error, _UnusableFile) as error:
            self._release()
            self._tell(error)

    def load(self) -> dict[str, SavedUrl]:
        """The URLs that had not expired when the file was opened, by embed code, the oldest first.

        Only the first call returns them, so the caller has to keep them.
        """
        loaded, self._loaded = self._loaded, {}
        return loaded

    def put(
        self,
        embed_code: str,
        url: SignedUrl,
        *,
        file_size: int | None,
        as_of_s: float,
        asked_at_s: float,
    ) -> None:
        """Keep a URL, unless it is very long or does not say when it expires.

        :param as_of_s: see `SavedUrl`.
        :param asked_at_s: our wall clock just before the API was asked.
        """
        if url.expires_at_s is None or len(url.url) > MAX_URL_LENGTH:
            return
        entry = _Put(SavedUrl(url, file_size, as_of_s), url.expires_at_s, asked_at_s)
        with self._lock:
            noted = self._pending.get(embed_code)
            if not isinstance(noted, _Drop) or noted.changed_at_s < asked_at_s:
                self._note(embed_code, entry)

    def drop(self, embed_code: str, url: SignedUrl | None = None) -> None:
        """Do not keep the URL of this asset any longer.

        :param url: drop the URL only if it is this one; None: drop any URL.
        """
        now_s = self._clock.now()
        with self._lock:
            noted = self._pending.get(embed_code)
            if url is None or (isinstance(noted, _Put) and noted.saved.url == url):
                self._note(embed_code, _Drop(None, now_s))
            elif noted is None or (isinstance(noted, _Drop) and noted.url is not None):
                self._note(embed_code, _Drop(url.url, now_s))

    def flush(self) -> bool:
        """Write the noted changes now, on this thread; remove expired entries if that is due.

        :returns: False if that failed and has to be tried again.
        """
        with self._io:
            while True:
                if self._connection is not None and self._file.removed:
                    if self._closed:  # its folder may be removed with all that a mount has left
                        return True
                    self._connection = self._written_again(self._connection)
                if self._connection is None:
                    return True
                with self._lock:
                    batch, self._pending = self._pending, {}
                prune = self._clock.monotonic() - self._pruned_at >= PRUNE_INTERVAL_S
                if not batch and not prune:
                    return True
                try:
                    self._write(self._connection, batch, prune=prune)
                except sqlite3.Error as error:
                    with self._lock:  # changes that were noted meanwhile are newer
                        newest = list((batch | self._pending).items())[-self._max_entries :]
                        self._pending = dict(newest)
                    if self._file.removed:
                        continue  # it was removed just now
                    self._tell(error)
                    if not _is_damage(error):
                        return False
                    self._remove_damaged()
                return True

    def close(self) -> None:
        """Write what is noted and close the file. May be called again."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._closing.set()
        self._wake.set()
        if thread is not None:
            thread.join(_END_S)
        self.flush()
        with self._io:
            self._release()

    def _note(self, embed_code: str, change: _Put | _Drop) -> None:
        """Call with the lock held."""
        if self._closed or self._connection is None:
            return
        self._pending.pop(embed_code, None)  # so that the newest change is the last
        self._pending[embed_code] = change
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="saved-urls", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can be started now; the next change tries again
                return
            self._thread = thread
        self._wake.set()

    def _run(self) -> None:
        """Write the noted changes until `close` is called."""
        while not self._closing.is_set():
            self._wake.wait(PRUNE_INTERVAL_S)
            self._wake.clear()
            if self._closing.wait(WRITE_AFTER_S):
                return
            if not self.flush():
                self._closing.wait(RETRY_AFTER_S)
                self._wake.set()

    def _write(
        self, connection: sqlite3.Connection, batch: dict[str, _Put | _Drop], *, prune: bool
    ) -> None:
        """:raises sqlite3.Error: nothing of it was written."""
        with transaction(connection):
            for code, change in batch.items():
                self._write_one(connection, code, change)
            if prune:
                _delete_expired(connection, self._clock.now())
            (count,) = connection.execute("SELECT count(*) FROM presigned_url").fetchone()
            if count > self._max_entries:
                # remove more than needed, so that not every write has to look for the oldest
                surplus = count - self._max_entries + self._max_entries // 20
                connection.execute(
                    "DELETE FROM presigned_url WHERE embed_code IN (SELECT embed_code"
                    " FROM presigned_url ORDER BY changed_at_s LIMIT ?)",
                    (surplus,),
                )
        if prune:
            self._pruned_at = self._clock.monotonic()

    def _write_one(self, connection: sqlite3.Connection, code: str, change: _Put | _Drop) -> None:
        if isinstance(change, _Put):
            url, size, as_of_s = change.saved
            row = (code, url.url, change.expires_at_s, size, as_of_s, change.changed_at_s)
            connection.execute(_PUT, row)
            return
        until_s = change.changed_at_s + DROP_REMEMBERED_S
        if change.url is None:
            connection.execute(_DROP, (code, until_s, change.changed_at_s))
        else:
            connection.execute(_DROP_GIVEN, (until_s, change.changed_at_s, code, change.url))

    def _open(self) -> None:
        """:raises OSError, sqlite3.Error, _UnusableFile: it cannot be used."""
        alone = self._file.acquire()
        make_cache_tag(self._file.folder, self._path.parent)
        try:
            self._connect()
        except (sqlite3.Error, _UnusableFile, UntrustedPath) as error:
            if not alone or not _is_damage(error):
                raise
            self._file.unlink()
            events.SAVED_URLS_REMOVED.log(log, path=self._path, reason=_reason(error))
            self._connect()
        self._file.share()  # let other mounts in

    def _connect(self) -> None:
        """:raises OSError, sqlite3.Error, _UnusableFile: it cannot be used."""
        self._file.make()
        connection = self._file.connect()
        try:
            _prepare(connection)
            self._loaded = _read(connection, self._clock.now())
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        with contextlib.suppress(sqlite3.OperationalError):  # the disk is full, but can be read
            _delete_expired(connection, self._clock.now())

    def _written_again(self, old: sqlite3.Connection) -> sqlite3.Connection | None:
        """Write the removed file again. If that fails, return None and use no file any more.

        Call with the I/O lock held.
        """
        new = None
        try:
            new = self._file.make_again(old)
            _prepare(new)
            make_cache_tag(self._file.folder, self._path.parent)
            self._file.share()
            events.CACHE_FILE_REMADE.log(log, path=self._path)
        except (OSError, sqlite3.Error, _UnusableFile) as error:
            if new is not None:
                new.close()
                new = None
            self._file.release()
            self._tell(error)
        old.close()
        return new

    def _remove_damaged(self) -> None:
        """Stop using the file; the next mount makes a new one. Call with the I/O lock held."""
        self._close_connection()
        with self._lock:
            self._pending.clear()
        with contextlib.suppress(OSError):
            if self._file.lock_alone():  # else another mount uses it
                self._file.unlink()

    def _release(self) -> None:
        self._close_connection()
        self._file.release()

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _tell(self, error: Exception) -> None:
        """Log why URLs are not saved."""
        events.URLS_NOT_KEPT.log(log, path=self._path, reason=_reason(error))


def delete_saved_urls(path: Path) -> None:
    """Delete the file of `SavedUrls`. If another mount uses it, delete only the URLs in it.

    :raises OSError, sqlite3.Error: it cannot be deleted.
    """
    if not os.path.lexists(path):
        return
    file = _file(path, SystemClock())
    alone = file.acquire(make_folder=False)
    try:
        if alone:
            file.unlink()
            return
        with contextlib.closing(file.connect()) as connection:
            connection.execute("DELETE FROM presigned_url")
    finally:
        file.release()


def _file(path: Path, clock: Clock) -> PrivateSqliteFile:
    # SQLite overwrites dropped URLs, and removes the journal after each transaction.
    return PrivateSqliteFile(path, clock, timeout_s=_TIMEOUT_S, pragmas=["secure_delete = ON"])


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the table in a new file. :raises _UnusableFile: the file is not one of ours."""
    with transaction(connection):
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application_id, version, tables) == (0, 0, 0):
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        elif (application_id, version) != (_APPLICATION_ID, _VERSION):
            raise _UnusableFile("it was written by another program or version")


def _read(connection: sqlite3.Connection, now_s: float) -> dict[str, SavedUrl]:
    """:raises sqlite3.Error: the file is damaged."""
    rows = connection.execute(
        "SELECT embed_code, url, expires_at_s, file_size, as_of_s FROM presigned_url"
        " WHERE url IS NOT NULL AND expires_at_s > ? ORDER BY changed_at_s",
        (now_s,),
    )
    return {
        code: SavedUrl(SignedUrl(url, expires_at_s), size, as_of_s)
        for code, url, expires_at_s, size, as_of_s in rows
        if isinstance(url, str) and _SENDABLE.fullmatch(url)
    }


def _delete_expired(connection: sqlite3.Connection, now_s: float) -> None:
    connection.execute("DELETE FROM presigned_url WHERE expires_at_s <= ?", (now_s,))


def _is_damage(error: Exception) -> bool:
    """Whether the file itself is the cause, and not the disk or another mount."""
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED
    return isinstance(error, _UnusableFile | UntrustedPath)


def _reason(error: Exception) -> str:
    """The reason in one phrase. Messages of SQLite contain no stored values, so no URL."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
