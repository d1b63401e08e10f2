# SPDX-License-Identifier: Apache-2.0
"""The manifest: as sha256sum writes and reads it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.errors import SettingsError
from backlotfs.export import manifest
from backlotfs.export.destination import MANIFEST, TIMES, WORKSPACE, Destination
from backlotfs.export.manifest import JOURNAL, ManifestWriter, format_line, parse_lines
from backlotfs.export.times import ROUNDED, TimePair
from backlotfs.export.verifying import read_all_records, strangers
from tests.unit.export.entries import make_entry

A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()
NAMES = ["a.mov", "two words.mov", "back\\slash", "line\nbreak\r", " *x", "ä.mov", "\udcff.mov"]
RAW_NAMES = st.binary(min_size=1).filter(
    lambda raw: not set(raw) & {0, ord("/")} and raw not in (b".", b"..")
)


def parse_text(text: bytes) -> dict[str, str]:
    """The entries of a manifest of these bytes."""
    return parse_lines(io.BytesIO(text), "m")


@given(RAW_NAMES.map(os.fsdecode).filter(lambda name: not name.startswith("./")))
def test_every_name_comes_back(name: str) -> None:
    """Whatever bytes a file system allows in it."""
    assert parse_text(format_line(name, A)) == {name: A}


def test_sha256sum_writes_the_same_lines(tmp_path: Path) -> None:
    """Byte for byte, escapes included; and it accepts ours."""
    for name in NAMES:
        (tmp_path / name).write_bytes(b"a")
    raw = [os.fsencode(name) for name in NAMES]
    theirs = subprocess.run(["sha256sum", "--", *raw], cwd=tmp_path, capture_output=True)
    ours = b"".join(format_line(name, A) for name in NAMES)
    assert ours == theirs.stdout
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "-"], cwd=tmp_path, input=ours, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        A[:-1].encode() + b"  a\n",
        A.encode() + b"  ../../etc/passwd\n",
        A.encode() + b"  /etc/passwd\n",
        A.encode() + b"  News/\n",
        A.encode() + b"  News//a\n",
        A.encode() + b"  ./.\n",
        A.encode() + b"  a\0\n",
        A.encode() + b"  a/../..\n",
        b"\\" + A.encode() + b"  a\\x\n",
        A.encode(),
    ],
)
def test_what_is_no_manifest_is_refused(line: bytes) -> None:
    """And so is one that leads out of its folder."""
    with pytest.raises(SettingsError, match="line 1"):
        parse_text(line)


def test_a_manifest_that_contradicts_itself_is_refused() -> None:
    """Of two digests of one file only one would be checked."""
    with pytest.raises(SettingsError, match="line 2"):
        parse_text(format_line("./a", A) + format_line("a", B))
    assert parse_text(format_line("./a", A) + format_line("a", A)) == {"a": A}


def test_the_last_line_counts_without_its_end() -> None:
    """As for sha256sum; a file left out in silence would count as checked."""
    assert parse_text(format_line("a", A) + format_line("b", B)[:-1]) == {"a": A, "b": B}


def test_a_manifest_that_is_none_is_not_read_to_its_end(tmp_path: Path) -> None:
    """Who can write to DEST makes a file of a terabyte in no time; no path is so long."""
    with (tmp_path / MANIFEST).open("wb") as file:
        file.write(format_line("a", A) + A.encode() + b"  ")
        file.truncate(2**40)
    with (
        Destination.open(tmp_path) as destination,
        limited_memory(200 * 2**20),
        pytest.raises(SettingsError, match="line 2, is not as sha256sum writes it"),
    ):
        read_all_records(destination)


def test_a_manifest_has_so_many_lines_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than an export writes; at the bound it is read."""
    text = b"".join(format_line(name, A) for name in ("a", "b", "c"))
    monkeypatch.setattr(manifest, "MOST_LINES", 3)
    monkeypatch.setattr(manifest, "MOST_BYTES", len(text))
    assert sorted(parse_text(text)) == ["a", "b", "c"]
    with pytest.raises(SettingsError, match="is too large for a manifest"):
        parse_text(text + b" ")
    monkeypatch.setattr(manifest, "MOST_LINES", 2)
    with pytest.raises(SettingsError, match="at most 2 lines"):
        parse_text(text)


@contextlib.contextmanager
def limited_memory(extra_bytes: int) -> Iterator[None]:
    """This process gets so much more address space at most."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Recording:
    """A destination with files, whose digests are recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.destination = Destination.open(folder)
        self.workspace = self.destination.claim()

    def file(self, name: str) -> os.stat_result:
        """Make one."""
        (self.folder / name).write_bytes(name.encode())
        return (self.folder / name).stat()

    def record(self, writer: ManifestWriter, name: str, digest: str) -> None:
        """Make one and record it; its source has its time."""
        status = self.file(name)
        writer.record(name, digest, status, status.st_mtime_ns)

    def entries(self) -> dict[str, str]:
        """As another process reads them."""
        return read_all_records(self.destination)[0].digests


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    """Nothing recorded yet."""
    recording = Recording(tmp_path)
    with recording.destination, recording.workspace:
        yield recording


def test_the_journal_counts_until_the_manifest_is_written(recording: Recording) -> None:
    """What was recorded survives an end without `close`; the next export keeps it."""
    (recording.folder / MANIFEST).write_bytes(format_line("a", A))
    killed = ManifestWriter(recording.destination, recording.workspace)
    recording.record(killed, "b", B)
    with (recording.folder / WORKSPACE / JOURNAL).open("ab") as journal:
        journal.write(b'\0\0\n["torn')
    assert recording.entries() == {"a": A, "b": B}
    second = ManifestWriter(recording.destination, recording.workspace)
    recording.record(second, "a", B)
    second.close()
    written = (recording.folder / MANIFEST).read_bytes()
    assert written == format_line("a", B) + format_line("b", B)
    assert list((recording.folder / WORKSPACE).iterdir()) == []


def test_a_line_of_the_journal_counts_for_its_file_alone(recording: Recording) -> None:
    """Killed before the file got its name: an older copy keeps its digest, a stranger has none."""
    (recording.folder / MANIFEST).write_bytes(format_line("a", A))
    killed = ManifestWriter(recording.destination, recording.workspace)
    for name in ("a", "b"):
        recording.record(killed, name, B)
        (recording.folder / name).write_bytes(b"another size")
    recording.record(killed, "c", B)
    killed.withdraw("c")
    assert recording.entries() == {"a": A}


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b'{"a": 1, "b": 2, "c": 3, "d": 4}',
        b'["a", "x", 1, 1, 1]',
        b'["a", 7, 1, 1, 1]',
        b'[["a"], null, 1, 1, 1]',
        b'["\\ud800", null, 1, 1, 1]',
        b'["\\u0000", null, 1, 1, 1]',
        b'["../a", null, 1, 1, 1]',
        b"[" * 30_000,
        b"[" * 300_000,
        b'["' + b"a" * 2**20 + b'", null, 1, 1, 1]',
        b"\0" * 2**20,
        b'["a", null, Infinity, 1, 1]',
        b'["a", null, ' + b"9" * 10_000 + b", 1, 1]",
    ],
)
def test_a_line_of_the_journal_that_no_export_wrote(recording: Recording, line: bytes) -> None:
    """Counts for nothing, and the others count: on a disk without modes anybody can add to it."""
    status = recording.file("a")
    good = json.dumps(["a", A, status.st_size, status.st_mtime_ns, status.st_mtime_ns]).encode()
    (recording.folder / WORKSPACE / JOURNAL).write_bytes(good + b"\n" + line + b"\n")
    assert recording.entries() == {"a": A}
    (recording.folder / WORKSPACE / JOURNAL).write_bytes(line + b"\n" + good + b"\n")
    assert recording.entries() == {"a": A}


def test_a_journal_without_end_is_not_read_to_its_end(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor kept in memory."""
    status = recording.file("a")
    monkeypatch.setattr(manifest, "MOST_BYTES", 2**24)
    with (recording.folder / WORKSPACE / JOURNAL).open("wb") as journal:
        journal.write(
            json.dumps(["a", A, status.st_size, status.st_mtime_ns, status.st_mtime_ns]).encode()
            + b"\n"
        )
        journal.truncate(2**40)
    with limited_memory(200 * 2**20):
        assert recording.entries() == {"a": A}


def test_what_is_withdrawn_has_its_digest_of_before(recording: Recording) -> None:
    """A new version that could not be published leaves the old one there."""
    (recording.folder / MANIFEST).write_bytes(format_line("a", A))
    writer = ManifestWriter(recording.destination, recording.workspace)
    recording.record(writer, "a", B)
    writer.withdraw("a")
    recording.record(writer, "b", B)
    writer.withdraw("b")
    writer.close()
    assert (recording.folder / MANIFEST).read_bytes() == format_line("a", A)


def test_a_disk_that_loses_lines_of_the_journal(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not on the disk is not recorded; the system tells of the loss once, we always."""
    (recording.folder / MANIFEST).write_bytes(format_line("a", A))
    writer = ManifestWriter(recording.destination, recording.workspace)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            recording.record(writer, "a", B)
    with pytest.raises(OSError, match="No space"):
        recording.record(writer, "b", B)
    assert writer.records.digests == {"a": A}
    writer.close()
    assert (recording.folder / MANIFEST).read_bytes() == format_line("a", A)


def test_nothing_exported_leaves_no_manifest(tmp_path: Path) -> None:
    """An empty one would look like a proof of something."""
    with Destination.open(tmp_path) as destination, destination.claim() as workspace:
        ManifestWriter(destination, workspace).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [MANIFEST, TIMES])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_manifest_that_is_no_file_is_refused(recording: Recording, kind: str, name: str) -> None:
    """Nor is a link to one read: what it leads to is not in the folder."""
    (recording.folder / "other").write_bytes(format_line("a", A))
    make_entry(recording.folder / name, kind, target="other")
    with pytest.raises(SettingsError, match="remove it or move it away"):
        recording.entries()
    with pytest.raises(SettingsError, match="remove it or move it away"):
        ManifestWriter(recording.destination, recording.workspace)


def test_a_manifest_of_somebody_else_is_not_replaced(recording: Recording) -> None:
    """One that was put there while the export ran; what was recorded is kept for the next."""
    writer = ManifestWriter(recording.destination, recording.workspace)
    recording.record(writer, "a", A)
    (recording.folder / MANIFEST).write_bytes(format_line("b", B))
    with pytest.raises(SettingsError, match="another program"):
        writer.close()
    assert (recording.folder / MANIFEST).read_bytes() == format_line("b", B)
    assert recording.entries() == {"a": A, "b": B}


ODD, EVEN = 1_400_000_001 * 10**9, 1_400_000_000 * 10**9


def rounded(recording: Recording, name: str) -> os.stat_result:
    """Make a file on a disk that shows the exact time until the system has forgotten it."""
    recording.destination.times = ROUNDED
    recording.file(name)
    os.utime(recording.folder / name, ns=(ODD, ODD))
    status = (recording.folder / name).stat()
    os.utime(recording.folder / name, ns=(EVEN, EVEN))
    return status


def test_the_times_on_a_disk_that_rounds(recording: Recording) -> None:
    """They are kept over a kill, and taken back with the digest; one that stays is not written."""
    status = rounded(recording, "a")
    killed = ManifestWriter(recording.destination, recording.workspace)
    killed.record("a", A, status, ODD)
    killed.record("b", B, recording.file("b"), EVEN)
    found = read_all_records(recording.destination)[0]
    assert found.digests == {"a": A, "b": B}
    assert found.times["a"] == TimePair(ODD, ODD)
    writer = ManifestWriter(recording.destination, recording.workspace)
    writer.record("a", B, rounded(recording, "a"), EVEN + 1)
    writer.withdraw("a")
    writer.record("c", B, rounded(recording, "c"), ODD)
    writer.forget("c")
    os.utime(recording.folder / "b", ns=(EVEN, EVEN))
    writer.record("b", B, (recording.folder / "b").stat(), EVEN)
    writer.close()
    found = read_all_records(recording.destination)[0]
    assert found == ({"a": A, "b": B}, {"a": TimePair(ODD, ODD)})
    assert (recording.folder / TIMES).read_text() == f'["a", {ODD}, {ODD}]\n'
    assert strangers(recording.destination, found.digests) == ["c"]


@pytest.mark.parametrize(
    "line", [b"", b"[", b'["a", 1]', b'["a", "1", 2]', b'["a", 1, 2, 3]', b"5"]
)
def test_lines_of_times_that_no_export_wrote(recording: Recording, line: bytes) -> None:
    """They count for nothing, and the others count."""
    (recording.folder / TIMES).write_bytes(b'%s\n["b", 1, 2]\n%s' % (line, line))
    found = read_all_records(recording.destination)[0]
    assert found.times == {"b": TimePair(1, 2)}
