# SPDX-License-Identifier: Apache-2.0
"""One file: whole under its name, or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from backlotfs.errors import Interrupted
from backlotfs.export import file_copy
from backlotfs.export.destination import WORKSPACE, Destination, Workspace
from backlotfs.export.file_copy import (
    PIECE_BYTES,
    DirectSource,
    Part,
    Pieces,
    ReadBackDiffers,
    Version,
    copy_file,
)
from backlotfs.export.items import Item
from backlotfs.export.manifest import ManifestWriter

DATA = bytes(range(251)) * 20_000  # five pieces, none like another
MTIME_NS = 1_400_000_000_000_000_000


class Copying:
    """A source, a place for its copy, and what was told on the way."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source.mov"
        self.copy = folder / "copy"
        self.target = self.copy / "News" / "a.mov"
        self.workspace = self.copy / WORKSPACE
        self.replace(DATA)
        self.stop = threading.Event()
        self.recorded: list[str] = []
        self.moved: list[int] = []
        self.pieces: Pieces | None = None
        self.direct_version = Version(len(DATA), MTIME_NS)

    def replace(self, data: bytes, mtime_ns: int = MTIME_NS) -> None:
        """Another source."""
        self.source.write_bytes(data)
        os.utime(self.source, ns=(mtime_ns, mtime_ns))

    def run(self) -> tuple[os.stat_result, str]:
        """Copy it."""
        item = Item(str(self.source), "News/a.mov", len(DATA), MTIME_NS)
        pieces = self.pieces
        direct = None if pieces is None else DirectSource(self.direct_version, pieces)
        self.moved.clear()
        with (
            Destination.open(self.copy, make=True) as destination,
            destination.claim() as workspace,
        ):
            manifest = _Recorded(destination, workspace, self._record)
            try:
                return copy_file(
                    item,
                    destination,
                    workspace,
                    manifest,
                    expected=destination.look_at_file(item.name),
                    moved=self._move,
                    stop=self.stop,
                    direct=direct,
                )
            finally:
                manifest.close()

    def left(self) -> list[str]:
        """Endings of what is unfinished."""
        if not self.workspace.exists():
            return []
        return sorted(path.suffix for path in self.workspace.iterdir())

    def _record(self, digest: str) -> None:
        assert not self.target.exists(), "it has its name before its digest is safe"
        self.recorded.append(digest)

    def _move(self, count_bytes: int) -> None:
        assert not self.target.exists(), "a partial file under its final name"
        self.moved.append(count_bytes)


class _Recorded(ManifestWriter):
    """A manifest that says what is recorded."""

    def __init__(
        self, destination: Destination, workspace: Workspace, told: Callable[[str], None]
    ) -> None:
        super().__init__(destination, workspace)
        self._told = told

    def record(self, name: str, digest: str, status: os.stat_result, source_ns: int) -> None:
        """Record and tell."""
        super().record(name, digest, status, source_ns)
        self._told(digest)


@pytest.fixture
def copying(tmp_path: Path) -> Copying:
    """Nothing copied yet."""
    return Copying(tmp_path)


def fail_reads_from(monkeypatch: pytest.MonkeyPatch, first_bad_byte: int, code: int) -> None:
    """A source that cannot be read from there on."""
    real = os.preadv

    def preadv(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        if offset >= first_bad_byte:
            raise OSError(code, os.strerror(code))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)


def test_bytes_time_and_digest(copying: Copying) -> None:
    """And nothing else is left beside it."""
    digest = hashlib.sha256(DATA).hexdigest()
    status, found = copying.run()
    assert (status.st_size, found) == (len(DATA), digest)
    assert copying.target.read_bytes() == DATA
    assert copying.target.stat().st_mtime_ns == MTIME_NS
    assert copying.recorded == [digest]
    assert sum(copying.moved) == len(DATA)
    assert sorted(path.name for path in copying.target.parent.iterdir()) == ["a.mov"]
    assert sorted(path.name for path in copying.copy.iterdir()) == ["MANIFEST.sha256", "News"]


def test_an_empty_file(copying: Copying) -> None:
    """Is a file too."""
    copying.replace(b"")
    status, found = copying.run()
    assert (status.st_size, found) == (0, hashlib.sha256().hexdigest())
    assert copying.target.stat().st_size == 0


def test_a_cut_copy_goes_on_where_it_was(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the disk is not read from the source again."""
    with monkeypatch.context() as patch:
        fail_reads_from(patch, 3 * PIECE_BYTES, errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            copying.run()
    assert copying.left() == [".checkpoint", ".part"]
    copying.run()
    assert copying.moved[0] == 3 * PIECE_BYTES
    assert copying.target.read_bytes() == DATA
    assert sorted(path.name for path in copying.target.parent.iterdir()) == ["a.mov"]
    assert sorted(path.name for path in copying.copy.iterdir()) == ["MANIFEST.sha256", "News"]


@pytest.mark.parametrize("spoiled", ["part", "source", "checkpoint"])
def test_a_part_that_cannot_be_trusted_is_begun_again(
    copying: Copying, monkeypatch: pytest.MonkeyPatch, spoiled: str
) -> None:
    """Bytes lost with the power, another version of the source, a note that is none."""
    with monkeypatch.context() as patch:
        fail_reads_from(patch, 2 * PIECE_BYTES, errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            copying.run()
    expected = DATA
    if spoiled == "source":
        expected = DATA[::-1]
        copying.replace(expected, MTIME_NS + 1)
    else:
        (path,) = copying.workspace.glob(f"*.{spoiled}")
        with path.open("r+b") as file:
            file.write(b"\0" * 10)
    copying.run()
    assert copying.moved[0] == 0
    assert copying.target.read_bytes() == expected


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"[1]",
        b"[" * 4000,
        b"[" * 400_000,
        b'{"length_bytes": Infinity, "size_bytes": SIZE, "mtime_ns": TIME, "sha256": "EMPTY"}',
        b'{"length_bytes": 4611686018427387904, "size_bytes": SIZE, "mtime_ns": TIME,'
        b' "sha256": "EMPTY"}',
        b'{"length_bytes": "1", "size_bytes": SIZE, "mtime_ns": TIME, "sha256": "EMPTY"}',
    ],
)
def test_a_checkpoint_that_no_export_wrote(copying: Copying, note: bytes) -> None:
    """Is passed over: on a disk without modes anybody can put one there."""
    copying.workspace.mkdir(mode=0o700, parents=True)
    for old, new in {
        b"SIZE": str(len(DATA)).encode(),
        b"TIME": str(MTIME_NS).encode(),
        b"EMPTY": hashlib.sha256().hexdigest().encode(),
    }.items():
        note = note.replace(old, new)
    key = file_copy.part_key("News/a.mov")
    (copying.workspace / f"{key}.checkpoint").write_bytes(note)
    (copying.workspace / f"{key}.part").touch()
    copying.run()
    assert copying.target.read_bytes() == DATA


def test_a_checkpoint_is_made_on_the_way(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that even a kill or a loss of power costs no more than what came since."""
    monkeypatch.setattr(file_copy, "CHECKPOINT_BYTES", 2 * PIECE_BYTES)
    seen = []
    real = Part.keep

    def keep(self: Part) -> None:
        seen.append(self.length_bytes)
        real(self)

    monkeypatch.setattr(Part, "keep", keep)
    copying.run()
    assert seen == [2 * PIECE_BYTES, 4 * PIECE_BYTES]


def test_a_source_replaced_on_the_way_is_not_published(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one version and half of another would have the right size."""
    real = os.preadv

    def preadv(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        if offset == PIECE_BYTES:
            copying.replace(DATA[::-1], MTIME_NS + 1)
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(OSError, match="Stale"):
        copying.run()
    assert not copying.target.exists()
    assert copying.recorded == []


def test_an_error_at_close_is_one_of_the_copy(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount says there that what was read is not one version."""
    real = os.close

    def close(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        real(descriptor)
        if name == str(copying.source):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "close", close)
    with pytest.raises(OSError, match="Stale"):
        copying.run()
    assert not copying.target.exists()


@pytest.mark.parametrize("behind_bytes", [PIECE_BYTES, 10 * PIECE_BYTES])
@pytest.mark.parametrize("place", [0, len(DATA) - 1])
def test_a_disk_that_gives_back_other_bytes_is_found_out(
    copying: Copying, monkeypatch: pytest.MonkeyPatch, place: int, behind_bytes: int
) -> None:
    """Before the file has its name; and nothing of it is kept to go on from.

    It is read back at the end, or while it is written.
    """
    real = os.posix_fadvise

    def rot(descriptor: int, start: int, length: int, advice: int) -> None:
        real(descriptor, start, length, advice)
        if start <= place < start + length:
            os.pwrite(descriptor, bytes([DATA[place] ^ 1]), place)

    monkeypatch.setattr(file_copy, "BEHIND_BYTES", behind_bytes)
    monkeypatch.setattr(os, "posix_fadvise", rot)
    with pytest.raises(ReadBackDiffers, match="check the disk"):
        copying.run()
    assert copying.left() == []
    assert copying.recorded == []


def test_a_file_that_is_read_back_while_it_is_written(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte is read back from the disk once, in order."""
    read: list[tuple[int, int]] = []
    real = os.posix_fadvise

    def fadvise(descriptor: int, start: int, length: int, advice: int) -> None:
        real(descriptor, start, length, advice)
        read.append((start, length))

    monkeypatch.setattr(file_copy, "BEHIND_BYTES", PIECE_BYTES)
    monkeypatch.setattr(os, "posix_fadvise", fadvise)
    _, found = copying.run()
    assert found == hashlib.sha256(DATA).hexdigest()
    assert [start for start, _ in read] == [0, *(start + length for start, length in read[:-1])]
    assert sum(length for _, length in read) == len(DATA)


def test_bytes_that_come_without_the_path(copying: Copying) -> None:
    """Another reader brings them; the version is still that of the path."""
    asked: list[int] = []

    def pieces(offset: int, _window_bytes: int) -> Iterator[memoryview]:
        asked.append(offset)
        yield memoryview(DATA)[offset:]

    copying.pieces = pieces
    _, found = copying.run()
    assert (found, asked) == (hashlib.sha256(DATA).hexdigest(), [0])
    assert copying.target.read_bytes() == DATA


def test_a_source_that_was_replaced_before_it_was_opened(copying: Copying) -> None:
    """Its other bytes are not taken for those of the version that is there, of the same size."""
    copying.pieces = lambda _offset, _window_bytes: iter([memoryview(bytes(len(DATA)))])
    copying.direct_version = Version(len(DATA), MTIME_NS - 10**9)
    copying.run()
    assert copying.target.read_bytes() == DATA


def test_too_few_bytes_without_the_path(copying: Copying) -> None:
    """They are not taken for the file."""
    copying.pieces = lambda _offset, _window_bytes: iter([memoryview(DATA)[:-1]])
    with pytest.raises(OSError, match="Stale"):
        copying.run()
    assert not copying.target.exists()


def test_a_stopped_copy_keeps_what_it_has(copying: Copying) -> None:
    """Stopped before its first byte: nothing."""
    copying.stop.set()
    with pytest.raises(Interrupted):
        copying.run()
    assert copying.left() == []
