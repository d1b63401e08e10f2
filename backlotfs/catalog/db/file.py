"""The catalog's file on disk: its place and modes, who has it open, and setting it aside.

A lock file beside the database says who uses it: every mount holds a shared lock. A database is
renamed only under the exclusive one, because SQLite reaches its write-ahead log by name: whoever
still had the old file open would write into, or delete, the log of the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.concurrency.clock import Clock
from backlotfs.trusted_paths import (
    make_private,
    open_own_file,
    open_private_folder,
    real_path,
)

log = logging.getLogger(__name__)

#: Files set aside are kept for whoever wants to look into them, but not for ever.
KEPT_ASIDE = 3
#: A transaction of another mount may take this long: a million assets change in one.
BUSY_TIMEOUT_S = 30.0
#: Opening (a migration, at worst) by another mount may take this long.
_OPENING_TIMEOUT_S = 30.0
_OPENING_POLL_S = 0.05
#: The write-ahead log is cut back to this after a large transaction.
_WAL_LIMIT_BYTES = 64 * 2**20


def catalog_path(directory: Path, library: LibraryIdentity) -> Path:
    """Where the catalog of a library is; ``directory`` is the cache directory."""
    return directory / "catalog" / f"{library.digest}.sqlite3"


class StoreFile:
    """One library's file. Not thread-safe: `store_connections.Connections` guards it."""

    def __init__(self, directory: Path, library: LibraryIdentity, clock: Clock) -> None:
        """Touch nothing yet; ``directory`` is the cache directory."""
        self.path = catalog_path(directory, library)
        self._clock = clock
        self._lock = self._folder = -1

    def acquire(self) -> None:
        """Make the folder and an empty file where there is none, and say that we use it.

        :raises UntrustedPath: another user could have made or replaced them.
        :raises OSError: the folder cannot be written, or another mount does not end its opening.
        """
        # One that was readable by others is closed: earlier versions did so at every start.
        self._folder = open_private_folder(self.path.parent, make=True, tighten=True)
        try:
            self._lock = self._open_own(self.path.with_suffix(".lock").name, os.O_RDWR)
            if not self._try_lock(fcntl.LOCK_EX):
                self._wait_for_shared_lock()
            # Never open and close a database that may be open in this process: POSIX would drop
            # SQLite's own locks with it. SQLite gives the log files the database's mode.
            for suffix in ("", "-wal", "-shm", "-journal"):
                self._check(self.path.name + suffix)
            self._make_empty()
        except BaseException:
            self.release()
            raise

    def opened(self) -> None:
        """The file is in order: let other mounts in."""
        self._try_lock(fcntl.LOCK_SH)

    def release(self) -> None:
        """We no longer use it. May be called again."""
        for descriptor in (self._lock, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._folder = -1

    def connect(self) -> sqlite3.Connection:
        """A connection in autocommit mode, for any thread that guards it.

        :raises sqlite3.Error: the file is no database, or cannot be opened.
        """
        # The real path of the checked folder: no link on it, and nobody else can put one there.
        path = f"{real_path(self._folder)}/{self.path.name}"
        uri = f"file:{quote(path)}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            # A power cut may lose the last transactions, never the file: they are listed again.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}").fetchone()
            configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def set_aside(self) -> Path | None:
        """Rename the file and its log, nobody having them open, and leave an empty one.

        :returns: the new path; None when another mount uses the file: then nothing was done.
        :raises OSError: it cannot be renamed.
        """
        if not self._try_lock(fcntl.LOCK_EX):
            return None
        name = self.path.name
        aside = sorted(
            (int(tail), found)
            for found in os.listdir(self._folder)
            if found.startswith(f"{name}.set-aside-")
            and (tail := found.rpartition("-")[2]).isascii()
            and tail.isdecimal()
        )
        target = f"{name}.set-aside-{aside[-1][0] + 1 if aside else 1}"
        self._rename(name, target)
        with contextlib.suppress(FileNotFoundError):
            self._rename(f"{name}-wal", f"{target}-wal")
        self._remove(f"{name}-shm")
        for _, old in aside[: max(0, len(aside) + 1 - KEPT_ASIDE)]:
            self._remove(old)
            self._remove(f"{old}-wal")
        self._make_empty()
        return self.path.with_name(target)

    def _make_empty(self) -> None:
        """An empty database, 0600, where there is no file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path.name, flags, 0o600, dir_fd=self._folder))

    def _open_own(self, name: str, flags: int) -> int:
        return open_own_file(name, flags, self._folder, str(self.path.with_name(name)))

    def _check(self, name: str) -> None:
        """:raises UntrustedPath: a file of this name is there, and is not ours alone."""
        try:
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return
        try:
            make_private(os.fstat(found), found, str(self.path.with_name(name)))
        finally:
            os.close(found)

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)

    def _wait_for_shared_lock(self) -> None:
        until = self._clock.monotonic() + _OPENING_TIMEOUT_S
        while not self._try_lock(fcntl.LOCK_SH):
            if self._clock.monotonic() >= until:
                raise TimeoutError("another mount has been opening it for too long")
            self._clock.sleep(_OPENING_POLL_S)

    def _try_lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def configure(connection: sqlite3.Connection) -> None:
    """What holds for the file and for the stand-in in memory."""
    # The schema of a file that somebody else wrote may not run anything.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # Sorting and statements' journals leave no copies of the library in /tmp.
    connection.execute("PRAGMA temp_store = MEMORY")
