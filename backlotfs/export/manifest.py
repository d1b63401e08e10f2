"""``MANIFEST.sha256``: the digest of every exported file, in the form of sha256sum(1).

``sha256sum -c MANIFEST.sha256`` in the folder checks a copy on any Unix, without backlotfs.
While an export runs, digests are appended to a journal in its workspace; the manifest itself is
only ever replaced as a whole, sorted by name. A line of the journal is JSON: name, digest, and the
size and time of the file. It counts if DEST has such a file, as a line may be written and the file
not published. A line without a digest takes back what the journal said of the name before.

Reading of both is bounded: other users of DEST can put anything there.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from backlotfs.errors import SettingsError
from backlotfs.export.destination import (
    MANIFEST,
    Destination,
    UnsafeDestination,
    Workspace,
    look,
    open_regular,
    write_all,
)

JOURNAL = "journal"
_NEW_MANIFEST = "manifest"
#: As many lines as a listing may have assets, and 200 bytes for each: far more than names take.
MOST_LINES = 5_000_000
MOST_BYTES = 2**30
#: The longest path of Linux has 4096 bytes: escaped for sha256sum twice, in JSON six times as many.
_MOST_LINE_BYTES = 32 * 1024
_LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *]([^\n]+)\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_ESCAPED = re.compile(rb"(?:[^\\]|\\[\\nr])*\Z")
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}


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
            raise SettingsError(f"{what}, line {number}, is not as sha256sum writes it")
        mark, digest, raw = match.groups()
        if mark:
            raw = re.sub(rb"\\[\\nr]", lambda found: _UNESCAPES[found.group()], raw)
        name = _inside(os.fsdecode(raw))
        if name is None:
            raise SettingsError(f"{what}, line {number}, names a file outside the folder")
        if entries.setdefault(name, digest.decode()) != digest.decode():
            raise SettingsError(f"{what}, line {number}, contradicts the line of the same name")
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


def read_manifest(destination: Destination) -> dict[str, str]:
    """Read the manifest of a copy, name to digest; empty if there is none.

    :raises SettingsError: it is not one, or cannot be read.
    """
    path = destination.path / MANIFEST
    try:
        descriptor = open_regular(MANIFEST, destination.descriptor, MANIFEST)
        with open(descriptor, "rb") as file:
            return parse_lines(file, path)
    except FileNotFoundError:
        return {}
    except UnsafeDestination as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def read_journal(destination: Destination, workspace: Workspace) -> dict[str, str]:
    """Read what an export that was cut off has published since the manifest was written."""
    journal = workspace.open_for_reading(JOURNAL)
    if journal is None:
        return {}
    entries: dict[str, tuple[str, int, int]] = {}
    with journal:
        for name, digest, size_bytes, mtime_ns in _journal_lines(journal):
            if digest is None:
                entries.pop(name, None)
            else:
                entries[name] = digest, size_bytes, mtime_ns
    return {
        name: digest
        for name, (digest, *state) in entries.items()
        if state == _state(destination, name)
    }


def _journal_lines(journal: BinaryIO) -> Iterator[tuple[str, str | None, int, int]]:
    """The valid lines: a loss of power may have torn the last, others may have written some."""
    for number, line in enumerate(_bounded_lines(journal)):
        if line is None or number >= MOST_LINES:
            return
        if not line.endswith(b"\n"):
            continue
        try:
            match json.loads(line):
                case [str(name), None | str() as digest, int(size_bytes), int(mtime_ns)]:
                    os.fsencode(name)
                    if digest is None or _DIGEST.match(digest):
                        yield name, digest, size_bytes, mtime_ns
        except (ValueError, RecursionError):
            continue


def _state(destination: Destination, name: str) -> list[int] | None:
    try:
        found = destination.look_at_file(name)
    except (UnsafeDestination, OSError):
        return None
    return None if found is None else [found.st_size, found.st_mtime_ns]


class ManifestWriter:
    """Records digests as files are finished. Any thread may record."""

    def __init__(self, destination: Destination, workspace: Workspace) -> None:
        """Read the manifest and the journal of earlier exports.

        :raises SettingsError: what is there is not a manifest. :raises OSError: no journal.
        """
        self._workspace = workspace
        self._replaced = look(MANIFEST, destination.descriptor)
        written = read_manifest(destination)
        self._entries = written | read_journal(destination, workspace)
        self._before: dict[str, str | None] = {}
        self._lock = threading.Lock()
        if self._entries != written:  # what a cut-off export published is kept
            self._write()
        self._journal = workspace.open(JOURNAL)
        os.ftruncate(self._journal, 0)

    @property
    def entries(self) -> Mapping[str, str]:
        """Name to digest, as of now."""
        return self._entries

    def record(self, name: str, digest: str, status: os.stat_result) -> None:
        """Keep the digest of a file that is there, or is about to get its name.

        :raises OSError: it is not kept.
        """
        with self._lock:
            self._append([name, digest, status.st_size, status.st_mtime_ns])
            self._before[name] = self._entries.get(name)
            self._entries[name] = digest

    def withdraw(self, name: str) -> None:
        """Take back the last record of a file that did not get its name."""
        with self._lock:
            before = self._before.pop(name, None)
            if before is None:
                self._entries.pop(name, None)
            else:
                self._entries[name] = before
            self._append([name, None, 0, 0])

    def forget(self, name: str) -> None:
        """Take back every record of a file that is not there any more."""
        with self._lock:
            self._before.pop(name, None)
            self._entries.pop(name, None)
            self._append([name, None, 0, 0])

    def _append(self, entry: list[str | int | None]) -> None:
        write_all(self._journal, memoryview(json.dumps(entry).encode() + b"\n"))
        os.fsync(self._journal)

    def close(self) -> None:
        """Write the manifest, with all that was recorded.

        :raises SettingsError: another program has changed it meanwhile; the journal stays.
        :raises OSError: it cannot be written; the journal stays.
        """
        os.close(self._journal)
        if self._entries:
            self._write()
        self._workspace.remove(_NEW_MANIFEST)
        self._workspace.remove(JOURNAL)

    def _write(self) -> None:
        lines = (format_line(name, digest) for name, digest in sorted(self._entries.items()))
        descriptor = self._workspace.open(_NEW_MANIFEST)
        try:
            os.ftruncate(descriptor, 0)
            write_all(descriptor, memoryview(b"".join(lines)))
            os.fsync(descriptor)
            status = os.fstat(descriptor)
            self._workspace.publish(_NEW_MANIFEST, descriptor, status, MANIFEST, self._replaced)
            self._replaced = status
        except UnsafeDestination as error:
            raise SettingsError(f"{MANIFEST} is not written: {error}") from None
        finally:
            os.close(descriptor)
