"""``MANIFEST.sha256``: the digest of every exported file, in the form of sha256sum(1).

``sha256sum -c MANIFEST.sha256`` in the folder checks a copy wherever there is a Unix, without us.
While an export runs, digests are appended to a journal in the same form; the manifest itself is
only ever replaced as a whole, sorted by name.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path

from backlotfs.errors import SettingsError
from backlotfs.export.durable import replace_file, sync_folder, write_all

MANIFEST = "MANIFEST.sha256"
JOURNAL = ".backlotfs-export.sha256"
_LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *]([^\n]+)\Z")
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}


def format_line(name: str, digest: str) -> bytes:
    """A line as sha256sum writes it; a name with a backslash or line break is escaped."""
    raw = os.fsencode(name)
    escaped = re.sub(rb"[\\\n\r]", lambda match: _ESCAPES[match.group()], raw)
    mark = b"\\" if escaped != raw else b""
    return b"%s%s  %s\n" % (mark, digest.encode(), escaped)


def parse_lines(text: bytes, what: object) -> dict[str, str]:
    """Name to digest; of several lines for a name the last counts. A torn last line is left out.

    :param what: the file, for the message.
    :raises SettingsError: a line is no line of sha256sum's, or names a file outside the folder.
    """
    entries = {}
    for number, line in enumerate(text.split(b"\n")[:-1], start=1):
        match = _LINE.match(line)
        if match is None:
            raise SettingsError(f"{what}, line {number}, is not as sha256sum writes it")
        mark, digest, raw = match.groups()
        if mark:
            raw = re.sub(rb"\\[\\nr]", lambda found: _UNESCAPES[found.group()], raw)
        name = os.fsdecode(raw)
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise SettingsError(f"{what}, line {number}, names a file outside the folder")
        entries[name.removeprefix("./")] = digest.decode()
    return entries


def read_manifest(destination: Path) -> dict[str, str]:
    """What is recorded of a copy, an unfinished export included; empty without a manifest.

    :raises SettingsError: it is not one, or cannot be read.
    """
    entries: dict[str, str] = {}
    for name in (MANIFEST, JOURNAL):
        path = destination / name
        try:
            entries |= parse_lines(path.read_bytes(), path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    return entries


class ManifestWriter:
    """Records digests as files are finished. Any thread may record."""

    def __init__(self, destination: Path) -> None:
        """:raises SettingsError: what is there is not a manifest. :raises OSError: no journal."""
        self._destination = destination
        self._entries = read_manifest(destination)
        self._lock = threading.Lock()
        # what an earlier export left in the journal, its torn last line not included, is kept
        if (destination / JOURNAL).exists():
            self._write()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._journal = os.open(destination / JOURNAL, flags, 0o666)

    @property
    def entries(self) -> Mapping[str, str]:
        """Name to digest, as of now."""
        return self._entries

    def record(self, name: str, digest: str) -> None:
        """Keep the digest of a file that is about to get its name. :raises OSError: it is not."""
        line = format_line(name, digest)
        with self._lock:
            write_all(self._journal, memoryview(line))
            os.fsync(self._journal)
            self._entries[name] = digest

    def close(self) -> None:
        """Write the manifest, with all that was recorded. :raises OSError: the journal stays."""
        os.close(self._journal)
        if self._entries:
            self._write()
        (self._destination / JOURNAL).unlink()
        sync_folder(self._destination)

    def _write(self) -> None:
        lines = (format_line(name, digest) for name, digest in sorted(self._entries.items()))
        replace_file(self._destination / MANIFEST, b"".join(lines))
