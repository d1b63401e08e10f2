# SPDX-License-Identifier: Apache-2.0
"""The file of a catalog snapshot: written by ``catalog export``, read by ``catalog import``.

The first line is JSON with the version of the format, the library, and the time of its listing. The
compressed database of `db.snapshot` follows, and the SHA-256 of all bytes before it. The file is
written with a temporary name in the same folder and renamed, so it is complete or does not exist.
An import checks the whole file before it uses the database.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import stat
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from backlotfs import __version__
from backlotfs.catalog.db import state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import CatalogUnavailable
from backlotfs.catalog.db.schema import LibraryIdentity, UnusableFile, catalog_path, prepare
from backlotfs.catalog.db.snapshot import (
    NO_LIBRARY,
    DamagedSnapshot,
    NewerListing,
    copy_library,
    merge,
)
from backlotfs.catalog.sync import SYNC_LEASE, SYNC_LEASE_S
from backlotfs.concurrency.clock import Clock
from backlotfs.concurrency.private_sqlite import harden, transaction
from backlotfs.errors import CommandFailed, SettingsError
from backlotfs.trusted_paths import open_private_folder, real_path

VERSION = 1
_FORMAT = "backlotfs catalog snapshot"
_CHUNK = 1 << 20
_LONGEST_HEAD = 4096
#: Compression is a third of the time of an export; a higher level costs more than it saves.
_LEVEL = 1
#: How long an import waits for a mount of this machine that lists the library.
LEASE_WAIT_S = 30.0
_LEASE_POLL_S = 0.5


class Described(NamedTuple):
    """The result of an export or an import.

    :ivar assets: number of assets. :ivar sized: how many of them have a size.
    :ivar synced_at_s: when the library was listed, seconds since the epoch.
    :ivar is_newer: import only: the catalog of this machine was newer and was not changed.
    """

    assets: int
    sized: int
    synced_at_s: float
    is_newer: bool = False


def export_snapshot(cache_dir: Path, library: LibraryIdentity, clock: Clock, to: Path) -> Described:
    """Write the catalog of a library to a file; its mounts continue to run.

    :raises CommandFailed: no mount has listed the library yet, or a file cannot be written.
    """
    catalog = catalog_path(cache_dir, library)
    unlisted = CommandFailed(
        f"no mount has listed this library into {cache_dir} yet; mount it once, then export"
    )
    if not catalog.exists():
        raise unlisted
    try:
        with _opened(cache_dir, library, clock) as db, _scratch(catalog) as scratch:
            with contextlib.closing(_empty_snapshot(scratch)) as snapshot:
                with transaction(snapshot):
                    if not db.read(copy_library, snapshot).full_sync_at_s:
                        raise unlisted
                described = _describe(snapshot)
            _write(to.resolve(), library, described, scratch)
    except (OSError, sqlite3.Error) as error:
        raise CommandFailed(f"{to} cannot be written: {_reason(error)}") from None
    return described


def import_snapshot(
    cache_dir: Path, library: LibraryIdentity, clock: Clock, file: Path
) -> Described:
    """Import a snapshot into the catalog of a library; its mounts show it within seconds.

    :raises SettingsError: the file is no snapshot, damaged, or of a later version or another
        library.
    :raises CommandFailed: a mount lists the library now, or a file cannot be read or written.
    """
    catalog = catalog_path(cache_dir, library)
    with contextlib.ExitStack() as opened:
        try:
            folder = open_private_folder(catalog.parent, make=True, tighten=True)
            os.close(folder)
            scratch = opened.enter_context(_scratch(catalog))
            with file.open("rb") as source:
                _unpack(source, file, library, scratch)
            snapshot = opened.enter_context(contextlib.closing(sqlite3.connect(scratch)))
            snapshot.isolation_level = None
            harden(snapshot)
            prepare(snapshot, NO_LIBRARY, 0)
        except OSError as error:
            raise CommandFailed(f"{file} cannot be imported: {_reason(error)}") from None
        except (UnusableFile, sqlite3.Error) as error:
            raise SettingsError(f"{file} cannot be imported: {error}; export it again") from None
        db = opened.enter_context(_opened(cache_dir, library, clock))
        lease = Lease(db, SYNC_LEASE, SYNC_LEASE_S)
        _take(lease, clock)
        opened.callback(lease.release)
        try:
            db.write(merge, snapshot, clock.now())
        except DamagedSnapshot as error:
            raise SettingsError(f"{file} cannot be imported: {error}; export it again") from None
        except NewerListing as newer:
            return Described(*db.read(_counts), newer.synced_at_s, is_newer=True)
        return Described(*db.read(_counts), db.read(state.sync_state).synced_at_s)


@contextlib.contextmanager
def _opened(cache_dir: Path, library: LibraryIdentity, clock: Clock) -> Iterator[CatalogDb]:
    """Open the catalog. :raises CommandFailed: it cannot be used; the log says why."""
    db = CatalogDb(cache_dir, library, clock)
    try:
        if db.path is None:
            raise CommandFailed(
                f"the catalog in {cache_dir} cannot be used; the line above says why"
            )
        yield db
    except CatalogUnavailable as error:
        raise CommandFailed(f"{error}; try it again") from None
    finally:
        db.close()


def _take(lease: Lease, clock: Clock) -> None:
    until_s = clock.monotonic() + LEASE_WAIT_S
    while not lease.take():
        if clock.monotonic() >= until_s:
            raise CommandFailed(
                "a mount of this machine lists the library now; import when it is ready, or "
                "unmount it"
            )
        clock.sleep(_LEASE_POLL_S)


@contextlib.contextmanager
def _scratch(catalog: Path) -> Iterator[Path]:
    """A path for a database beside the catalog; it is removed at the end.

    If a command was killed, `cache clear` removes its folder, because of the folder's name.
    """
    folder = open_private_folder(catalog.parent, make=False, tighten=True)
    try:
        place = real_path(folder)
    finally:
        os.close(folder)
    with tempfile.TemporaryDirectory(prefix=f"{catalog.stem}.snapshot-", dir=place) as made:
        yield Path(made) / "snapshot.sqlite3"


def _empty_snapshot(path: Path) -> sqlite3.Connection:
    snapshot = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    harden(snapshot)
    prepare(snapshot, NO_LIBRARY, 0)
    # no journal file: if this process is killed, the snapshot is not used
    snapshot.execute("PRAGMA journal_mode = OFF").fetchone()
    snapshot.execute("PRAGMA synchronous = OFF")
    return snapshot


def _describe(snapshot: sqlite3.Connection) -> Described:
    return Described(*_counts(snapshot), state.sync_state(snapshot).synced_at_s)


def _counts(connection: sqlite3.Connection) -> tuple[int, int]:
    found = state.sized_counts(connection)
    return found.total, found.sized


def _write(to: Path, library: LibraryIdentity, described: Described, database: Path) -> None:
    """Write a temporary file in the same folder, private to this user, and rename it."""
    if to.exists() and not stat.S_ISREG(to.stat().st_mode):
        raise CommandFailed(f"{to} is not a file; name one")
    head = {
        "format": _FORMAT,
        "version": VERSION,
        "made_by": f"backlotfs {__version__}",
        "library": library.digest,
        "assets": described.assets,
        "sized": described.sized,
        "synced_at": described.synced_at_s,
        "database_bytes": database.stat().st_size,
    }
    new = to.with_name(f".{to.name}.{os.getpid()}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(new, flags, 0o600), "wb") as made, database.open("rb") as source:
            checksum = hashlib.sha256()
            packer = zlib.compressobj(_LEVEL)

            def put(data: bytes) -> None:
                checksum.update(data)
                made.write(data)

            put(json.dumps(head).encode() + b"\n")
            while chunk := source.read(_CHUNK):
                put(packer.compress(chunk))
            put(packer.flush())
            made.write(checksum.hexdigest().encode())
            made.flush()
            os.fsync(made.fileno())
        os.replace(new, to)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def _unpack(source: BinaryIO, file: Path, library: LibraryIdentity, database: Path) -> None:
    """Check the file and write its database.

    :raises SettingsError: the file cannot be imported; says why.
    """
    line = source.readline(_LONGEST_HEAD)
    size = _check_head(line, file, library)
    damaged = SettingsError(f"{file} is damaged; copy or export it again")
    checksum = hashlib.sha256(line)
    unpacker = zlib.decompressobj()
    descriptor = os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as made:
        while not unpacker.eof:
            chunk = source.read(_CHUNK)
            if not chunk:
                raise damaged
            try:
                # unpack at most one byte more than the head states, so that no file fills the disk
                made.write(unpacker.decompress(chunk, size + 1 - made.tell()))
            except zlib.error:
                raise damaged from None
            if unpacker.unconsumed_tail or made.tell() > size:
                raise damaged
            checksum.update(chunk[: len(chunk) - len(unpacker.unused_data)])
        stated = unpacker.unused_data + source.read(_CHUNK)
        if made.tell() != size or stated != checksum.hexdigest().encode():
            raise damaged


def _check_head(line: bytes, file: Path, library: LibraryIdentity) -> int:
    """The size of the database that the first line states."""
    try:
        head = json.loads(line)
        known = head["format"] == _FORMAT
        version, of, size = int(head["version"]), str(head["library"]), int(head["database_bytes"])
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        known = False
    if not known:
        raise SettingsError(
            f"{file} is not a catalog snapshot; make one: backlotfs catalog export FILE"
        )
    if version > VERSION:
        raise SettingsError(
            f"{file} was written by a later version of backlotfs (form {version}); update backlotfs"
        )
    if of != library.digest:
        raise SettingsError(
            f"{file} is of the library {of[:8]!r}, not of {library.digest[:8]!r}; choose its "
            "account with --profile (ids: backlotfs cache list)"
        )
    return max(0, size)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
