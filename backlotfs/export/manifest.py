# SPDX-License-Identifier: Apache-2.0
"""``MANIFEST.sha256``: the digest of every exported file, in the form of sha256sum(1).

``sha256sum -c MANIFEST.sha256`` in the folder checks a copy on any Unix, without backlotfs.
Where the disk does not keep the time of a source for sure, a second file has it (`times`): lines of
JSON with name, time of the copy and time of the source.

While an export runs, both go to a journal in its workspace; the files themselves are only ever
replaced as a whole, sorted by name. A line of the journal is JSON: name, digest, size and time of
the copy, time of the source. It counts if DEST has such a file, as a line may be written and the
file not published. A line without a digest takes back what the journal said of the name before.

Reading of all three is bounded: other users of DEST can put anything there.
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
#: The names that new ones have in the workspace, before they replace those in DEST.
_UNFINISHED = {MANIFEST: "manifest", TIMES: "times"}
#: As many lines as a listing may have assets, and 200 bytes for each: far more than names take.
MOST_LINES = 5_000_000
MOST_BYTES = 2**30
#: The longest path of Linux has 4096 bytes: escaped for sha256sum twice, in JSON six times as many.
_MOST_LINE_BYTES = 32 * 1024
_MEND = "correct it, or move it away and export again with --overwrite"
_LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *]([^\n]+)\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_ESCAPED = re.compile(rb"(?:[^\\]|\\[\\nr])*\Z")
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}


class Records(NamedTuple):
    """What earlier exports say of the files in DEST, by name.

    :ivar digests: of the manifest; a file without one was not exported.
    :ivar times: of files whose times the disk may not keep.
    """

    digests: dict[str, str]
    times: dict[str, TimePair]


def format_line(name: str, digest: str) -> bytes:
    """A line as sha256sum writes it; a name with a backslash or line break is escaped."""
    raw = os.fsencode(name)
    escaped = re.sub(rb"[\\\n\r]", lambda match: _ESCAPES[match.group()], raw)
    mark = b"\\" if escaped != raw else b""
    return b"%s%s  %s\n" % (mark, digest.encode(), escaped)


def parse_lines(text: BinaryIO, what: object) -> dict[str, str]:
    """Name to digest.

    :param what: the file, for the message.
    :raises SettingsError: a line is no line of sha256sum's, names a file outside the folder, or
        has another digest for a name than a line before; or there are too many lines or bytes.
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
    """The lines with their ends, a long one in pieces; None at the end: there is too much."""
    read_bytes = 0
    while line := text.readline(_MOST_LINE_BYTES):
        read_bytes += len(line)
        if read_bytes > MOST_BYTES:
            yield None
            return
        yield line


def _inside(name: str) -> str | None:
    """The name without ``./``; None: it is not of a file in the folder."""
    parts = [part for part in name.split("/") if part != "."]
    if not parts or "" in parts or ".." in parts or "\0" in name:
        return None
    return "/".join(parts)


def read_records(destination: Destination, workspace: Workspace | None) -> Records:
    """Read what is written down in DEST of the copies in it.

    :param workspace: what an export left that was cut off; its journal is read too.
    :raises SettingsError: the manifest is not one, or a file cannot be read.
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
    """The valid lines. Without one, the bytes of a file tell whether it is unchanged."""
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
    """Open a file of export's own directly in DEST; None: there is none.

    :raises SettingsError: it is something else, or cannot be read.
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
    """Add what was published since the manifest was written."""
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
    """The lists whose first value can be a name.

    A loss of power may have torn the last line, others may have written some.
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

    :ivar records: what is known, as of now.
    """

    def __init__(self, destination: Destination, workspace: Workspace) -> None:
        """Read the manifest and the journal of earlier exports.

        :raises SettingsError: what is there is not a manifest. :raises OSError: no journal.
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
        if self.records != (written, self._written_times):  # what a cut-off export published
            self._write()
        self._journal = workspace.open(JOURNAL)
        os.ftruncate(self._journal, 0)

    def record(self, name: str, digest: str, status: os.stat_result, source_ns: int) -> None:
        """Keep the digest of a file that is there, or is about to get its name.

        :param status: of the file. :param source_ns: the modification time of its source.
        :raises OSError: it is not kept.
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
            with contextlib.suppress(OSError):  # of the journal again; the record goes first
                self.withdraw(name)
            raise

    def withdraw(self, name: str) -> None:
        """Take back the last record of a file that did not get its name."""
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
        """Take back every record of a file that is not there any more."""
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
        """Sync the first ``written`` lines of the journal. One sync serves all who wait for it.

        :raises OSError: that failed, or a sync before it: the system tells of lost lines once.
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
        """Write the manifest, with all that was recorded.

        :raises SettingsError: another program has changed it meanwhile; the journal stays.
        :raises OSError: it cannot be written; the journal stays.
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
