# SPDX-License-Identifier: Apache-2.0
"""The catalog's database file, shared by the threads of a mount and by mounts of one library.

**Guarantees.** `CatalogDb.read` and `CatalogDb.write` run a function in one transaction. It is
atomic, even if the process is killed, and readers see one consistent version of the library. The
functions are in the other modules of this package; their first parameter is a connection. Several
mounts may share the file: the generation (`state.generation`) changes when another mount changes
something, and `assets.changed_since` returns the changes. The file can be lost: a damaged or
foreign file is set aside and replaced by an empty one; a file that was removed while it was in use
is written again; if no file can be written, a database in memory is used. Each of these events is
logged with one WARNING. Until a full sync has finished, the catalog is empty and
`SyncState.full_sync_at_s` is 0.

**Never stored**: signed URLs of sources, keys, secrets.

**Threads.** One connection writes, under a lock; a pool of others reads at the same time, so a
reader never waits for a writer. (Not one connection per thread: with fusepy every callback is a new
thread for Python.) A write waits up to 30 s for another mount's write. A function runs twice if the
first run found damage or a removed file, so it must have no effects outside the database. Do not
use a `CatalogDb` across a fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from backlotfs.catalog.db.rows import CatalogClosed, CatalogUnavailable, DamagedRecord
from backlotfs.catalog.db.schema import LibraryIdentity, UnusableFile, catalog_path, prepare
from backlotfs.concurrency.clock import Clock
from backlotfs.concurrency.private_sqlite import PrivateSqliteFile, harden, transaction
from backlotfs.log import events

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

#: Number of files set aside that are kept for an analysis.
KEPT_ASIDE = 3
#: Longest wait for a transaction of another mount (which may change a million assets) and for its
#: migration of the file.
_TIMEOUT_S = 30.0
#: The write-ahead log is truncated to this size after a large transaction.
_WAL_LIMIT_BYTES = 64 * 2**20
#: Reading connections that are kept; more are opened when more threads read at once.
_IDLE_READERS = 2
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class CatalogDb:
    """The database of one library. Any thread may call it, but not a function that it runs.

    :ivar clock: used for leases and the age of a full sync.
    :ivar path: the file; None while a database in memory is used.
    """

    def __init__(self, directory: Path, library: LibraryIdentity, clock: Clock) -> None:
        """Open, create, migrate or replace the file; if that fails, use a database in memory.

        :param directory: the cache directory; the file is in its folder ``catalog/``.
        """
        self._file = PrivateSqliteFile(
            catalog_path(directory, library),
            clock,
            timeout_s=_TIMEOUT_S,
            # a power cut may lose the last transactions, not the file: the next sync repeats them
            pragmas=[f"journal_size_limit = {_WAL_LIMIT_BYTES}"],
        )
        self._library = library
        self.clock = clock
        self._writing = threading.Lock()
        # Guards the fields below, for short moments only. Take it after `_writing`, never before.
        self._changed = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._reading = 0
        self._replacing = False
        self._closed = False
        self._epoch = 0
        self.path: Path | None = None
        self._writer = self._open()

    def read(
        self,
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **options: P.kwargs,
    ) -> T:
        """Run ``work`` on one consistent version of the library and return its result.

        :raises CatalogUnavailable: the file cannot be read.
        :raises CatalogClosed: the catalog is closed.
        """
        return self._run(self._read_once, lambda connection: work(connection, *args, **options))

    def write(
        self,
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **options: P.kwargs,
    ) -> T:
        """Run ``work`` in a transaction that no other write overlaps.

        The transaction is undone if ``work`` raises.

        :raises CatalogUnavailable: the file cannot be written now.
        :raises CatalogClosed: the catalog is closed.
        """
        return self._run(self._write_once, lambda connection: work(connection, *args, **options))

    @property
    def epoch(self) -> int:
        """How many times the content was lost and replaced by another content."""
        return self._epoch

    def keep_file(self) -> None:
        """Write the file again if it or its folder was removed. Call this now and then."""
        if not self._is_removed():
            return
        with self._writing:
            with self._changed:
                if self._closed or not self._is_removed():
                    return  # another thread has written the file
                self._replacing = True
                self._drain()
            try:
                self._writer = self._written_again(self._writer)
            finally:
                with self._changed:
                    self._replacing = False
                    self._changed.notify_all()

    def close(self) -> None:
        """Wait for running transactions, then close the file. Idempotent."""
        with self._writing, self._changed:
            if self._closed:
                return
            self._closed = True
            self._drain()
            self._writer.close()
            self._file.release()

    def _run(
        self,
        once: Callable[[Callable[[sqlite3.Connection], T]], T],
        work: Callable[[sqlite3.Connection], T],
    ) -> T:
        epoch = self._epoch
        try:
            return once(work)
        except sqlite3.DatabaseError as error:
            if self._is_removed():
                self.keep_file()
            elif _is_damage(error) and self.path is not None:
                self._replace(epoch, str(error))
            else:
                raise _as_ours(error) from error
        try:
            return once(work)
        except sqlite3.DatabaseError as error:
            raise _as_ours(error) from error

    def _write_once(
        self, work: Callable[[sqlite3.Connection], T], begin: str = "BEGIN IMMEDIATE"
    ) -> T:
        with self._writing:
            if self._closed:
                raise CatalogClosed("the catalog is closed")
            with transaction(self._writer, begin):
                return work(self._writer)

    def _read_once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self.path is None:
            return self._write_once(work)
        with self._reader() as connection:
            if connection is not None:
                with transaction(connection, "BEGIN"):
                    return work(connection)
        return self._write_once(work, "BEGIN")

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that reads; None if none can be opened now.

        There may be no permission or no free descriptor, or the file was closed a moment ago.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._replacing)
            if self._closed:
                raise CatalogClosed("the catalog is closed")
            self._reading += 1
            connection = self._idle.pop() if self._idle else None
        try:
            if connection is None:
                with contextlib.suppress(sqlite3.OperationalError, OSError):
                    connection = self._file.connect()
                    connection.execute("PRAGMA query_only = ON")
            yield connection
        finally:
            with self._changed:
                self._reading -= 1
                if connection is not None and len(self._idle) < _IDLE_READERS:
                    self._idle.append(connection)
                elif connection is not None:
                    connection.close()
                self._changed.notify_all()

    def _drain(self) -> None:
        """Wait until no thread reads and close those connections. The caller holds `_changed`."""
        self._changed.wait_for(lambda: self._reading == 0)
        while self._idle:
            self._idle.pop().close()

    def _replace(self, epoch: int, reason: str) -> None:
        """Replace the damaged file that was used in ``epoch``."""
        with self._writing:
            with self._changed:
                if self._closed or self._epoch != epoch:
                    return  # another thread found the damage first
                self._replacing = True
                self._drain()
            try:
                self._writer.close()
                self._writer = self._begin_anew(reason)
                self._file.share()
            except (OSError, sqlite3.Error) as error:
                self._writer = self._in_memory(error)
            finally:
                with self._changed:
                    self._epoch += 1
                    self._replacing = False
                    self._changed.notify_all()

    def _open(self) -> sqlite3.Connection:
        try:
            self._file.acquire()
            self._file.make()
            try:
                connection = self._connect()
            except (UnusableFile, sqlite3.DatabaseError) as error:
                # Here "no such table" is a fault of the file; later it would be our own mistake.
                code = getattr(error, "sqlite_errorcode", None)
                strange = isinstance(error, UnusableFile) or code == sqlite3.SQLITE_ERROR
                if not strange and not _is_damage(error):
                    raise
                connection = self._begin_anew(str(error))
            self._file.share()  # the file was checked, so other mounts may use it
        except (OSError, sqlite3.Error) as error:
            return self._in_memory(error)
        self.path = self._file.path
        return connection

    def _begin_anew(self, reason: str) -> sqlite3.Connection:
        """Make an empty catalog in place of the file, which no thread of this process has open.

        :raises OSError: another mount uses it, or it cannot be renamed.
        """
        if not self._file.lock_alone():
            raise OSError(f"another mount uses it, and it is damaged: {reason}")
        aside = _set_aside(self._file)
        events.CATALOG_SET_ASIDE.log(log, reason=reason, path=aside)
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = self._file.connect()
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_removed(self) -> bool:
        return self.path is not None and self._file.removed

    def _written_again(self, old: sqlite3.Connection) -> sqlite3.Connection:
        """Write the removed file that ``old`` has open again; in memory if that fails."""
        try:
            new = self._file.make_again(old)
            try:
                before = _generation(old)
                self._prepare(new)
                if _generation(new) != before:  # another mount has made it, so its content differs
                    self._epoch += 1
            except BaseException:
                new.close()
                raise
            self._file.share()
            events.CACHE_FILE_REMADE.log(log, path=self._file.path)
        except (OSError, sqlite3.Error, UnusableFile) as error:
            new = self._in_memory(error)
            try:
                old.backup(new)
            except sqlite3.Error:  # the disk was removed or fails, so the content is lost
                self._epoch += 1
        old.close()
        return new

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        events.CATALOG_NOT_KEPT.log(log, path=self._file.path, reason=error)
        self._file.release()
        self.path = None
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        harden(connection)
        self._prepare(connection)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Milliseconds, so that the generations of a new file are larger than those of the file
        # before it, and no mount confuses them.
        prepare(connection, self._library, int(self.clock.now() * 1000))


def _set_aside(file: PrivateSqliteFile) -> Path:
    """Rename the file and its log, which no process has open, and make an empty file.

    :returns: the new path of the renamed file.
    :raises OSError: it cannot be renamed.
    """
    name = file.path.name
    aside = sorted(
        (int(tail), found)
        for found in os.listdir(file.folder)
        if found.startswith(f"{name}.set-aside-")
        and (tail := found.rpartition("-")[2]).isascii()
        and tail.isdecimal()
    )
    target = f"{name}.set-aside-{aside[-1][0] + 1 if aside else 1}"
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(
                name + suffix, target + suffix, src_dir_fd=file.folder, dst_dir_fd=file.folder
            )
    old = [found for _, found in aside[: max(0, len(aside) + 1 - KEPT_ASIDE)]]
    for gone in [f"{name}-shm", *old, *(f"{found}-wal" for found in old)]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(gone, dir_fd=file.folder)
    file.make()
    return file.path.with_name(target)


def _generation(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("SELECT generation FROM library").fetchone()
    return int(number)


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # missing if Python, not SQLite, raised it
    if code is None:
        return isinstance(error, DamagedRecord) or "Could not decode" in str(error)
    return code & 0xFF in _DAMAGED  # the other bits only tell where SQLite found the damage


def _as_ours(error: sqlite3.DatabaseError) -> Exception:
    """Convert errors of the disk or another mount to `CatalogUnavailable`; keep our own bugs."""
    if isinstance(error, sqlite3.OperationalError) or _is_damage(error):
        return CatalogUnavailable(f"the catalog cannot be used now: {error}")
    return error
