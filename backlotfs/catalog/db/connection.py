"""Transactions on the catalog's file, from any thread, whatever becomes of the file.

One connection writes, under a lock; others, from a pool, read beside it: a reader sees one whole
version and never waits for a writer. (Not one connection per thread: under fusepy every callback
is a new thread to Python.) Work is a function of a connection and may run twice, so it has no
effects but those in the database.

A file that turns out to be damaged is set aside, a fresh one made, and the work run again on that.
Where no file can be had, a database in memory stands in, with one connection for all.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from backlotfs.catalog.db.file import StoreFile, configure
from backlotfs.catalog.db.record_json import DamagedRecord
from backlotfs.catalog.db.rows import StoreClosed, StoreUnavailable
from backlotfs.catalog.db.schema import LibraryIdentity, UnusableFile, prepare
from backlotfs.concurrency.clock import Clock
from backlotfs.log import events

log = logging.getLogger(__name__)

T = TypeVar("T")

#: What is done in a transaction; its value is passed on.
Work = Callable[[sqlite3.Connection], T]

#: Reading connections that are kept; more are opened when more threads read at once.
_IDLE_READERS = 2
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Connections:
    """Any thread may call it. A piece of work must not begin another one."""

    def __init__(self, directory: Path, library: LibraryIdentity, clock: Clock) -> None:
        """Open, make, migrate or replace the file. Never fails; at worst memory stands in."""
        self._file = StoreFile(directory, library, clock)
        self._library = library
        self._clock = clock
        self._writing = threading.Lock()
        # Guards what follows. Held for moments only; taken after `_writing`, never before it.
        self._changed = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._reading = 0
        self._replacing = False
        self._closed = False
        self._epoch = 0
        self.path: Path | None = None
        self._writer = self._open()

    def read(self, work: Work[T]) -> T:
        """Run ``work`` on one consistent version of the library.

        :raises StoreUnavailable: the file cannot be read. :raises StoreClosed: it is.
        """
        return self._run(self._read_once, work)

    def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction that no other write overlaps; undone if it raises.

        :raises StoreUnavailable: it cannot be written now. :raises StoreClosed: it is.
        """
        return self._run(self._write_once, work)

    @property
    def epoch(self) -> int:
        """Changes when the file was set aside and begun anew. Asked in a piece of work: of its."""
        return self._epoch

    def close(self) -> None:
        """Wait for running work, then let go of the file. May be called again."""
        with self._writing, self._changed:
            if self._closed:
                return
            self._closed = True
            self._drain()
            self._writer.close()
            self._file.release()

    def _run(self, once: Callable[[Work[T]], T], work: Work[T]) -> T:
        epoch = self._epoch
        try:
            return once(work)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error) or self.path is None:
                raise _told(error) from error
            self._replace(epoch, str(error))
        try:
            return once(work)
        except sqlite3.DatabaseError as error:
            raise _told(error) from error

    def _write_once(self, work: Work[T]) -> T:
        with self._writing:
            if self._closed:
                raise StoreClosed("the catalog is closed")
            with _transaction(self._writer, "BEGIN IMMEDIATE"):
                return work(self._writer)

    def _read_once(self, work: Work[T]) -> T:
        if self.path is None:
            return self._write_once(work)
        with self._reader() as connection, _transaction(connection, "BEGIN"):
            return work(connection)

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with self._changed:
            self._changed.wait_for(lambda: not self._replacing)
            if self._closed:
                raise StoreClosed("the catalog is closed")
            self._reading += 1
            connection = self._idle.pop() if self._idle else None
        try:
            if connection is None:
                connection = self._file.connect()
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
        """With `_changed` held: wait until nobody reads, and close the readers' connections."""
        self._changed.wait_for(lambda: self._reading == 0)
        while self._idle:
            self._idle.pop().close()

    def _replace(self, epoch: int, reason: str) -> None:
        """The file that was in use in ``epoch`` is damaged: put another in its place."""
        with self._writing:
            with self._changed:
                if self._closed or self._epoch != epoch:
                    return  # another thread met the damage too, and was faster
                self._replacing = True
                self._drain()
            try:
                self._writer.close()
                self._writer = self._set_aside(reason)
                self._file.opened()
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
            try:
                connection = self._connect()
            except (UnusableFile, sqlite3.DatabaseError) as error:
                # "No such table" is our mistake later on, but here it is the file that lacks it.
                code = getattr(error, "sqlite_errorcode", None)
                strange = isinstance(error, UnusableFile) or code == sqlite3.SQLITE_ERROR
                if not strange and not _is_damage(error):
                    raise
                connection = self._set_aside(str(error))
            self._file.opened()
        except (OSError, sqlite3.Error) as error:
            return self._in_memory(error)
        self.path = self._file.path
        return connection

    def _set_aside(self, reason: str) -> sqlite3.Connection:
        """An empty catalog in place of the file, which nobody of this process has open.

        :raises OSError: another mount uses it, or it cannot be renamed.
        """
        aside = self._file.set_aside()
        if aside is None:
            raise OSError(f"another mount uses it, and it is damaged: {reason}")
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

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        events.CATALOG_NOT_KEPT.log(log, path=self._file.path, reason=error)
        self._file.release()
        self.path = None
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        configure(connection)
        self._prepare(connection)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Milliseconds: the generations of a file made anew begin above those of the file before,
        # so nobody takes one for the other.
        prepare(connection, self._library, int(self._clock.now() * 1000))


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite ends some by itself, when the disk is full for one.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python, not SQLite, raised it
    if code is None:
        return isinstance(error, DamagedRecord) or "Could not decode" in str(error)
    return code & 0xFF in _DAMAGED  # the rest of an extended code says where it was met


def _told(error: sqlite3.DatabaseError) -> Exception:
    """What the caller gets: a mistake of ours as it is, what the machine does as our error."""
    if isinstance(error, sqlite3.OperationalError) or _is_damage(error):
        return StoreUnavailable(f"the catalog cannot be used now: {error}")
    return error
