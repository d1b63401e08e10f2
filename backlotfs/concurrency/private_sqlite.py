# SPDX-License-Identifier: Apache-2.0
"""A SQLite file that is private to one user and may be shared by several mounts (processes).

The file has mode 0600 and is in a folder with mode 0700. Each process that uses it holds a shared
lock on a lock file in the same folder. The database is created, checked, renamed or removed only
under the exclusive lock, because SQLite opens its journal and its write-ahead log by name: a
process that still has the old file open would write into, or delete, the log of the new one.

All paths are checked. An existing database is opened and closed only by SQLite, because POSIX drops
all of SQLite's own locks when any descriptor of the file is closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from backlotfs.concurrency.clock import Clock
from backlotfs.trusted_paths import make_private, open_own_file, open_private_folder, real_path

_POLL_S = 0.05
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
#: The suffixes of the database and of the files that SQLite may make for it.
_SUFFIXES = ("", "-journal", "-wal", "-shm")


class PrivateSqliteFile:
    """The file, its folder and its lock. Not thread-safe: the owner must use a lock.

    :ivar path: the file.
    :ivar folder: descriptor of the checked folder; -1 while the file is not in use.
    """

    def __init__(
        self, path: Path, clock: Clock, *, timeout_s: float, pragmas: Sequence[str] = ()
    ) -> None:
        """Open nothing yet.

        :param timeout_s: how long to wait for another mount that opens the file or writes to it.
            After this time, `acquire` raises `TimeoutError`, and a statement an error of sqlite3.
        :param pragmas: pragmas of each connection, in addition to those of `harden`.
        """
        self.path = path
        self.folder = self._lock = -1
        self._made: os.stat_result | None = None
        self._clock = clock
        self._timeout_s = timeout_s
        self._pragmas = ("synchronous = NORMAL", *pragmas)

    def acquire(self, *, make_folder: bool = True) -> bool:
        """Lock the file for this process; return whether no other process uses it.

        :raises UntrustedPath: another user could have made or replaced the folder or the lock file.
        :raises OSError: the folder cannot be opened, or another mount has been opening the file
            for too long.
        """
        self.folder = open_private_folder(self.path.parent, make=make_folder, tighten=True)
        try:
            lock = self.path.with_suffix(".lock")
            self._lock = open_own_file(lock.name, os.O_RDWR, self.folder, str(lock))
            return self._take_lock()
        except BaseException:
            self.release()
            raise

    def make(self) -> None:
        """Make an empty database if there is none; check that it and its journals are private.

        :raises UntrustedPath: one of the files does not belong to this user alone.
        :raises OSError: the database cannot be made.
        """
        for suffix in _SUFFIXES:
            name = self.path.name + suffix
            try:
                # an O_PATH descriptor does not open the file, so its close drops no lock
                found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder)
            except FileNotFoundError:
                continue
            try:
                make_private(os.fstat(found), found, str(self.path.with_name(name)))
            finally:
                os.close(found)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path.name, _CREATE, 0o600, dir_fd=self.folder))
        self._made = os.stat(self.path.name, dir_fd=self.folder, follow_symlinks=False)

    @property
    def removed(self) -> bool:
        """Whether the file of the last `make` is not at its path any more.

        The file or its folder was removed or moved. The next mount will not find later writes.
        """
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return self._made is not None
        except OSError:
            return False  # not known
        return self._made is not None and not os.path.samestat(found, self._made)

    def make_again(self, old: sqlite3.Connection) -> sqlite3.Connection:
        """Make the file again after it was removed; return a connection to the new one.

        The new file has the content of the removed file. If another mount has already made a new
        file, that file is not changed. Call `share` afterwards, so that other mounts can use it.

        :param old: the only connection of this process to the removed file; the caller closes it.
        :raises OSError, sqlite3.Error: the file cannot be made.
        """
        self.release()
        alone = self.acquire()
        if not self._is_there():
            if not alone:  # the other mount would use the journal of the new file for the old one
                raise OSError(None, "it was removed, and another mount uses it")
            self.unlink()  # remove old journals: SQLite would apply them to the new file
        self.make()
        connection = self.connect()
        try:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                old.backup(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_there(self) -> bool:
        try:
            os.stat(self.path.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def lock_alone(self) -> bool:
        """Take the exclusive lock; False while another mount uses the file."""
        return self._try_lock(fcntl.LOCK_EX)

    def share(self) -> bool:
        """Take the shared lock, so that other mounts can use the file.

        :returns: False while another mount has the exclusive lock.
        """
        return self._try_lock(fcntl.LOCK_SH)

    def release(self) -> None:
        """Release the lock: this process no longer uses the file. May be called again."""
        for descriptor in (self._lock, self.folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self.folder = -1

    def connect(self) -> sqlite3.Connection:
        """Open a connection in autocommit mode. Threads that share it must use a lock.

        :raises sqlite3.Error: the file is no database, or cannot be opened.
        """
        # The real path of the checked folder has no link, and no other user can make one in it.
        # SQLite gives its journals the mode of the file.
        path = os.fsencode(f"{real_path(self.folder)}/{self.path.name}")
        connection = sqlite3.connect(
            f"file:{quote(path)}?mode=rw",
            uri=True,
            timeout=self._timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            harden(connection)
            for pragma in self._pragmas:
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def unlink(self) -> None:
        """Remove the file and its journals; needs the exclusive lock. :raises OSError: failed."""
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path.name + suffix, dir_fd=self.folder)

    def _take_lock(self) -> bool:
        until = self._clock.monotonic() + self._timeout_s
        while True:
            if self.lock_alone():
                return True
            if self.share():
                return False
            if self._clock.monotonic() >= until:
                raise TimeoutError(None, "another mount has been opening it for too long")
            self._clock.sleep(_POLL_S)

    def _try_lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def harden(connection: sqlite3.Connection) -> None:
    """Set the pragmas of every connection, also of a database in memory."""
    # The schema of a file must not call functions that could do harm.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # Temporary files of sorting and of statement journals would leave copies of the data in /tmp.
    connection.execute("PRAGMA temp_store = MEMORY")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Write all of the block, or nothing. :raises sqlite3.Error: nothing was written."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite itself rolls back after some errors, such as a full disk; ROLLBACK then fails.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
