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

from backlotfs.catalog.schema import LibraryIdentity
from backlotfs.clock import Clock

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
        self._lock = -1

    def acquire(self) -> None:
        """Make the folder and an empty file where there is none, and say that we use it.

        :raises OSError: the folder cannot be written, or another mount does not end its opening.
        """
        folder = self.path.parent
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # one of others' stays theirs
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        try:
            if not self._try_lock(fcntl.LOCK_EX):
                self._wait_for_shared_lock()
            # Never open and close a database that may be open in this process: POSIX would drop
            # SQLite's own locks with it. SQLite gives the log files the database's mode.
            try:
                os.close(os.open(self.path, flags | os.O_EXCL, 0o600))
            except FileExistsError:
                self.path.chmod(0o600)
        except BaseException:
            self.release()
            raise

    def opened(self) -> None:
        """The file is in order: let other mounts in."""
        self._try_lock(fcntl.LOCK_SH)

    def release(self) -> None:
        """We no longer use it. May be called again."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def connect(self) -> sqlite3.Connection:
        """A connection in autocommit mode, for any thread that guards it.

        :raises sqlite3.Error: the file is no database, or cannot be opened.
        """
        uri = f"file:{quote(str(self.path))}?mode=rw"
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
        aside = sorted(
            (int(tail), found)
            for found in self.path.parent.glob(f"{self.path.name}.set-aside-*")
            if (tail := found.name.rpartition("-")[2]).isdecimal()
        )
        target = self.path.with_name(
            f"{self.path.name}.set-aside-{aside[-1][0] + 1 if aside else 1}"
        )
        self.path.rename(target)
        with contextlib.suppress(FileNotFoundError):
            _beside(self.path, "-wal").rename(_beside(target, "-wal"))
        _beside(self.path, "-shm").unlink(missing_ok=True)
        for _, old in aside[: max(0, len(aside) + 1 - KEPT_ASIDE)]:
            old.unlink(missing_ok=True)
            _beside(old, "-wal").unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(self.path, flags, 0o600))
        return target

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


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
