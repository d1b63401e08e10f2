"""The manifest: as sha256sum writes and reads it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.errors import SettingsError
from backlotfs.export.destination import MANIFEST, WORKSPACE, Destination
from backlotfs.export.manifest import JOURNAL, ManifestWriter, format_line, parse_lines
from backlotfs.export.verifying import read_entries
from tests.unit.export.entries import make_entry

A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()
NAMES = ["a.mov", "two words.mov", "back\\slash", "line\nbreak\r", " *x", "ä.mov", "\udcff.mov"]
RAW_NAMES = st.binary(min_size=1).filter(
    lambda raw: not set(raw) & {0, ord("/")} and raw not in (b".", b"..")
)


@given(RAW_NAMES.map(os.fsdecode).filter(lambda name: not name.startswith("./")))
def test_every_name_comes_back(name: str) -> None:
    """Whatever bytes a file system allows in it."""
    assert parse_lines(format_line(name, A), "m") == {name: A}


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
        parse_lines(line, "m")


def test_a_manifest_that_contradicts_itself_is_refused() -> None:
    """Of two digests of one file only one would be checked."""
    with pytest.raises(SettingsError, match="line 2"):
        parse_lines(format_line("./a", A) + format_line("a", B), "m")
    assert parse_lines(format_line("./a", A) + format_line("a", A), "m") == {"a": A}


def test_the_last_line_counts_without_its_end() -> None:
    """As for sha256sum; a file left out in silence would count as checked."""
    assert parse_lines(format_line("a", A) + format_line("b", B)[:-1], "m") == {"a": A, "b": B}


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

    def entries(self) -> dict[str, str]:
        """As another process reads them."""
        return read_entries(self.destination)[0]


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
    killed.record("b", B, recording.file("b"))
    with (recording.folder / WORKSPACE / JOURNAL).open("ab") as journal:
        journal.write(b'\0\0\n["torn')
    assert recording.entries() == {"a": A, "b": B}
    second = ManifestWriter(recording.destination, recording.workspace)
    second.record("a", B, recording.file("a"))
    second.close()
    written = (recording.folder / MANIFEST).read_bytes()
    assert written == format_line("a", B) + format_line("b", B)
    assert list((recording.folder / WORKSPACE).iterdir()) == []


def test_a_line_of_the_journal_counts_for_its_file_alone(recording: Recording) -> None:
    """Killed before the file got its name: an older copy keeps its digest, a stranger has none."""
    (recording.folder / MANIFEST).write_bytes(format_line("a", A))
    killed = ManifestWriter(recording.destination, recording.workspace)
    for name in ("a", "b"):
        status = recording.file(name)
        killed.record(name, B, status)
        (recording.folder / name).write_bytes(b"another size")
    killed.record("c", B, recording.file("c"))
    killed.withdraw("c")
    assert recording.entries() == {"a": A}


def test_what_is_withdrawn_has_its_digest_of_before(recording: Recording) -> None:
    """A new version that could not be published leaves the old one there."""
    (recording.folder / MANIFEST).write_bytes(format_line("a", A))
    writer = ManifestWriter(recording.destination, recording.workspace)
    writer.record("a", B, recording.file("a"))
    writer.withdraw("a")
    writer.record("b", B, recording.file("b"))
    writer.withdraw("b")
    writer.close()
    assert (recording.folder / MANIFEST).read_bytes() == format_line("a", A)


def test_nothing_exported_leaves_no_manifest(tmp_path: Path) -> None:
    """An empty one would look like a proof of something."""
    with Destination.open(tmp_path) as destination, destination.claim() as workspace:
        ManifestWriter(destination, workspace).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_manifest_that_is_no_file_is_refused(recording: Recording, kind: str) -> None:
    """Nor is a link to one read: what it leads to is not in the folder."""
    (recording.folder / "other").write_bytes(format_line("a", A))
    make_entry(recording.folder / MANIFEST, kind, target="other")
    with pytest.raises(SettingsError, match="remove it or move it away"):
        recording.entries()
    with pytest.raises(SettingsError, match="remove it or move it away"):
        ManifestWriter(recording.destination, recording.workspace)


def test_a_manifest_of_somebody_else_is_not_replaced(recording: Recording) -> None:
    """One that was put there while the export ran; what was recorded is kept for the next."""
    writer = ManifestWriter(recording.destination, recording.workspace)
    writer.record("a", A, recording.file("a"))
    (recording.folder / MANIFEST).write_bytes(format_line("b", B))
    with pytest.raises(SettingsError, match="another program"):
        writer.close()
    assert (recording.folder / MANIFEST).read_bytes() == format_line("b", B)
    assert recording.entries() == {"a": A, "b": B}
