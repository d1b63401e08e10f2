# SPDX-License-Identifier: Apache-2.0
"""``MANIFEST.sha256``: the digest of every exported file, in the form of sha256sum(1).

``sha256sum -c MANIFEST.sha256`` in the folder checks a copy on any Unix, without backlotfs.
If the disk may not keep the exact time of a source, a second file has the times (`times`): lines of
JSON with name, time of the copy and time of the source.

While an export runs, both are written to a journal in its workspace. The two files are only
replaced as a whole, sorted by name. A line of the journal is JSON: name, digest, size and time of
the copy, time of the source. A line counts only if DEST has such a file, because the line is
written before the file is published. A line without a digest cancels the earlier lines of the same
name.

The size of all three is limited when they are read, because other users of DEST may change them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from backlotfs.errors import SettingsError
from backlotfs.export.destination import (
    MANIFEST,
    TIMES,
    Destination,
    UnsafeDestination,
    Workspace,
    look,
    open_regular,
    write_all,
)
from backlotfs.export.times import TimePair

JOURNAL = "journal"
#: The names in the workspace of the new files, before they replace those in DEST.
_UNFINISHED = {MANIFEST: "manifest", TIMES: "times"}
#: By default a listing has at most this many assets. With 200 bytes for each line there is much
#: more room than names take.
MOST_LINES = 5_000_000
MOST_BYTES = 2**30
#: The longest path of Linux has 4096 bytes. Escaped, it takes up to twice as many for sha256sum,
#: and up to six times as many in JSON.
_MOST_LINE_BYTES = 32 * 1024
_MEND = "correct it, or move it away and export again with --overwrite"
_LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *]([^\n]+)\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_ESCAPED = re.compile(rb"(?:[^\\]|\\[\\nr])*\Z")
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}


class Records(NamedTuple):
    """The records of earlier exports about the files in DEST, by name.

    :ivar digests: the digests in the manifest; a file without a digest was not exported.
    :ivar times: the times of files whose times the disk may not keep.
    """

    digests: dict[str, str]
    times: dict[str, TimePair]


def format_line(name: str, digest: str) -> bytes:
    """Make a line as sha256sum does; a name with a backslash or line break is escaped."""
    raw = os.fsencode(name)
    escaped = re.sub(rb"[\\\n\r]", lambda match: _ESCAPES[match.group()], raw)
    mark = b"\\" if escaped != raw else b""
    return b"%s%s  %s\n" % (mark, digest.encode(), escaped)


def parse_lines(text: BinaryIO, what: object) -> dict[str, str]:
    """Return the digest of each name.

    :param what: the file, for error messages.
    :raises SettingsError: a line is not in the form of sha256sum, names a file outside the folder,
        or has another digest than an earlier line for the same name; or the file is too large.
    """
    entries: dict[str, str] = {}
    for number, line in enumerate(_bounded_lines(text), start=1):
        if line is None or number > MOST_LINES:
            raise SettingsError(
                f"{what} is too large for a manifest, which has at most {MOST_LINES} lines; "
                "look at what it is, move it away, then export again"
            )
        match = _LINE.match(line.removesuffix(b"\n")) if len(line) < _MOST_LINE_BYTES else None
        if match is None or (match[1] and not _ESCAPED.match(match[3])):
            raise SettingsError(f"{what}, line {number}, is not as sha256sum writes it; {_MEND}")
        mark, digest, raw = match.groups()
        if mark:
            raw = re.sub(rb"\\[\\nr]", lambda found: _UNESCAPES[found.group()], raw)
        name = _inside(os.fsdecode(raw))
        if name is None:
            raise SettingsError(f"{what}, line {number}, names a file outside the folder; {_MEND}")
        if entries.setdefault(name, digest.decode()) != digest.decode():
            raise SettingsError(
                f"{what}, line {number}, contradicts the line of the same name; {_MEND}"
            )
    return entries


def _bounded_lines(text: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines with their ends, long ones in pieces; None at the end: the file is too
    big."""
    read_bytes = 0
    while line := text.readline(_MOST_LINE_BYTES):
        read_bytes += len(line)
        if read_bytes > MOST_BYTES:
            yield None
            return
        yield line


def _inside(name: str) -> str | None:
    """The name without ``./``; None if it does not name a file in the folder."""
    parts = [part for part in name.split("/") if part != "."]
    if not parts or "" in parts or ".." in parts or "\0" in name:
        return None
    return "/".join(parts)


def read_records(destination: Destination, workspace: Workspace | None) -> Records:
    """Read the records in DEST about the copies in it.

    :param workspace: the workspace that an interrupted export left; its journal is read too.
    :raises SettingsError: the manifest is malformed, or a file cannot be read.
    """
    records = Records(_read_manifest(destination), _read_times(destination))
    if workspace is not None:
        _add_journal(records, destination, workspace)
    return records


def _read_manifest(destination: Destination) -> dict[str, str]:
    file = _open_own(destination, MANIFEST)
    if file is None:
        return {}
    with file:
        return parse_lines(file, destination.path / MANIFEST)


def _read_times(destination: Destination) -> dict[str, TimePair]:
    """Read the valid lines. If the line of a file is missing, its bytes have to be compared."""
    file = _open_own(destination, TIMES)
    times: dict[str, TimePair] = {}
    if file is not None:
        with file:
            for line in _json_lines(file):
                match line:
                    case [str(name), int(copy_ns), int(source_ns)]:
                        times[name] = TimePair(copy_ns, source_ns)
    return times


def _open_own(destination: Destination, name: str) -> BinaryIO | None:
    """Open a file of export itself, directly in DEST; None: there is none.

    :raises SettingsError: it is not a regular file, or cannot be read.
    """
    try:
        return open(open_regular(name, destination.descriptor, name), "rb")
    except FileNotFoundError:
        return None
    except UnsafeDestination as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(
            f"{destination.path / name} cannot be read: {error.strerror}; change its permissions, "
            "or choose another destination"
        ) from None


def _add_journal(records: Records, destination: Destination, workspace: Workspace) -> None:
    """Add the records of files that were published after the manifest was written."""
    journal = workspace.open_for_reading(JOURNAL)
    if journal is None:
        return
    entries: dict[str, tuple[str, int, TimePair]] = {}
    with journal:
        for name, digest, size_bytes, times in _journal_lines(journal):
            if digest is None:
                entries.pop(name, None)
            else:
                entries[name] = digest, size_bytes, times
    for name, (digest, size_bytes, times) in entries.items():
        if _is_there(destination, name, size_bytes, times.copy_ns):
            records.digests[name] = digest
            _put(records.times, name, destination.times.pair(*times))


def _journal_lines(journal: BinaryIO) -> Iterator[tuple[str, str | None, int, TimePair]]:
    for line in _json_lines(journal):
        match line:
            case [
                str(name),
                None | str() as digest,
                int(size_bytes),
                int(copy_ns),
                int(source_ns),
            ] if digest is None or _DIGEST.match(digest):
                yield name, digest, size_bytes, TimePair(copy_ns, source_ns)


def _json_lines(file: BinaryIO) -> Iterator[list[object]]:
    """Yield the lists whose first value can be a name; skip all other lines.

    The last line may be torn by a loss of power, and other users may have written lines.
    """
    for number, line in enumerate(_bounded_lines(file)):
        if line is None or number >= MOST_LINES:
            return
        if not line.endswith(b"\n"):
            continue
        try:
            match json.loads(line):
                case [str(name), *_] as values:
                    os.fsencode(name)
                    yield values
        except (ValueError, RecursionError):
            continue


def _is_there(destination: Destination, name: str, size_bytes: int, mtime_ns: int) -> bool:
    try:
        found = destination.look_at_file(name)
    except (UnsafeDestination, OSError):
        return False
    if found is None or found.st_size != size_bytes:
        return False
    return destination.times.same(found.st_mtime_ns, mtime_ns)


def _put(times: dict[str, TimePair], name: str, pair: TimePair | None) -> None:
    if pair is None:
        times.pop(name, None)
    else:
        times[name] = pair


class ManifestWriter:
    """Records digests and times as files are finished. Any thread may record.

    :ivar records: all records up to now.
    """

    def __init__(self, destination: Destination, workspace: Workspace) -> None:
        """Read the manifest and the journal of earlier exports.

        :raises SettingsError: the manifest is malformed, or a file cannot be read.
        :raises OSError: the journal cannot be read or made.
        """
        self._destination = destination
        self._workspace = workspace
        self._replaced = {name: look(name, destination.descriptor) for name in _UNFINISHED}
        self.records = read_records(destination, None)
        written = dict(self.records.digests)
        self._written_times = dict(self.records.times)
        self._before: dict[str, tuple[str | None, TimePair | None]] = {}
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._written = self._synced = 0  # lines of the journal
        self._sync_failed: OSError | None = None
        _add_journal(self.records, destination, workspace)
        # The journal has records of an export that was interrupted.
        if self.records != (written, self._written_times):
            self._write()
        self._journal = workspace.open(JOURNAL)
        os.ftruncate(self._journal, 0)

    def record(self, name: str, digest: str, status: os.stat_result, source_ns: int) -> None:
        """Record the digest of a file that exists, or that is about to get its name.

        :param status: the status of the file.
        :param source_ns: the modification time of its source.
        :raises OSError: the digest is not recorded.
        """
        copy_ns = status.st_mtime_ns
        with self._lock:
            self._append(name, digest, status.st_size, copy_ns, source_ns)
            self._before[name] = self.records.digests.get(name), self.records.times.get(name)
            self.records.digests[name] = digest
            _put(self.records.times, name, self._destination.times.pair(copy_ns, source_ns))
            written = self._written
        try:
            self._sync(written)
        except OSError:
            # `withdraw` removes the record first; after that the journal fails again.
            with contextlib.suppress(OSError):
                self.withdraw(name)
            raise

    def withdraw(self, name: str) -> None:
        """Cancel the last record of a file that did not get its name; restore the one before."""
        with self._lock:
            digest, pair = self._before.pop(name, (None, None))
            if digest is None:
                self.records.digests.pop(name, None)
            else:
                self.records.digests[name] = digest
            _put(self.records.times, name, pair)
            self._append(name, None, 0, 0, 0)
            written = self._written
        self._sync(written)

    def forget(self, name: str) -> None:
        """Cancel all records of a file that is no longer there."""
        with self._lock:
            self._before.pop(name, None)
            self.records.digests.pop(name, None)
            self.records.times.pop(name, None)
            self._append(name, None, 0, 0, 0)
            written = self._written
        self._sync(written)

    def _append(self, *entry: str | int | None) -> None:
        write_all(self._journal, memoryview(json.dumps(entry).encode() + b"\n"))
        self._written += 1

    def _sync(self, written: int) -> None:
        """Sync the first ``written`` lines of the journal. One sync serves all threads that wait.

        :raises OSError: this sync or an earlier one failed. An earlier failure is raised again,
            because the system reports lost lines only once.
        """
        with self._syncing:
            if self._synced >= written:
                return
            if self._sync_failed is not None:
                raise OSError(*self._sync_failed.args)
            written = self._written
            try:
                os.fsync(self._journal)
            except OSError as error:
                self._sync_failed = error
                raise
            self._synced = written

    def close(self) -> None:
        """Write the manifest and the times, with all records.

        :raises SettingsError: another program has changed a file meanwhile; the journal stays.
        :raises OSError: a file cannot be written; the journal stays.
        """
        os.close(self._journal)
        self._write()
        for unfinished in _UNFINISHED.values():
            self._workspace.remove(unfinished)
        self._workspace.remove(JOURNAL)

    def _write(self) -> None:
        digests, times = self.records
        if digests:
            lines = (format_line(name, digest) for name, digest in sorted(digests.items()))
            self._replace(MANIFEST, b"".join(lines))
        if times != self._written_times:
            rows = (json.dumps([name, *pair]).encode() for name, pair in sorted(times.items()))
            self._replace(TIMES, b"".join(row + b"\n" for row in rows))
            self._written_times = dict(times)

    def _replace(self, name: str, data: bytes) -> None:
        descriptor = self._workspace.open(_UNFINISHED[name])
        try:
            os.ftruncate(descriptor, 0)
            write_all(descriptor, memoryview(data))
            os.fsync(descriptor)
            status = os.fstat(descriptor)
            unfinished, replaced = _UNFINISHED[name], self._replaced[name]
            self._workspace.publish(unfinished, descriptor, status, name, replaced)
            self._replaced[name] = status
        except UnsafeDestination as error:
            raise SettingsError(f"{name} is not written: {error}") from None
        finally:
            os.close(descriptor)
