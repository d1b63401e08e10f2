# SPDX-License-Identifier: Apache-2.0
"""Contents: slices equal the whole, versions have validators, chunks differ."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.emulator import BytesContent, FileContent, SyntheticContent
from backlotfs.emulator.assets import CHUNK_BYTES, Content, synthetic_bytes

THREE_CHUNKS = synthetic_bytes(5, 0, 3 * CHUNK_BYTES)


@given(offset=st.integers(0, 3 * CHUNK_BYTES), length=st.integers(-1, 3 * CHUNK_BYTES))
def test_synthetic_slices(offset: int, length: int) -> None:
    """Any read equals the slice of the whole, whatever chunks it crosses."""
    content = SyntheticContent(5, len(THREE_CHUNKS))
    assert content.read(offset, length) == THREE_CHUNKS[offset : offset + max(0, length)]


@given(page=st.integers(0, 2**40), other=st.integers(0, 2**40))
def test_synthetic_pages_differ(page: int, other: int) -> None:
    """No two 4 KiB pages of one object are equal, terabytes apart or side by side."""
    same = synthetic_bytes(5, page * 4096, 4096) == synthetic_bytes(5, other * 4096, 4096)
    assert same is (page == other)


def test_synthetic_seeds_differ() -> None:
    """Two assets never have equal bytes at one offset."""
    assert synthetic_bytes(1, 8192, 64) != synthetic_bytes(2, 8192, 64)


def test_synthetic_refuses_a_negative_offset() -> None:
    """A negative offset is a mistake, not a read from the end."""
    with pytest.raises(ValueError, match="not negative"):
        synthetic_bytes(1, -1, 5)


def test_kinds_agree(tmp_path: Path) -> None:
    """File, memory and arithmetic answer the same reads, at the end and past it too."""
    data = THREE_CHUNKS[:70_001]
    path = tmp_path / "a.mov"
    path.write_bytes(data)
    kinds: list[Content] = [FileContent(path), BytesContent(data), SyntheticContent(5, len(data))]
    for offset, length in [(0, 10), (65_530, 20), (70_000, 5), (70_001, 5), (80_000, 5), (5, 0)]:
        for content in kinds:
            assert content.read(offset, length) == data[offset : offset + length]
            opened = content.open()
            assert opened.read(offset, length) == data[offset : offset + length]
            assert opened.size == content.size == len(data)
            opened.close()


def test_file_validators_move_with_the_file(tmp_path: Path) -> None:
    """A file that changes on disk has another ETag, and the date of the change."""
    path = tmp_path / "a.mov"
    path.write_bytes(b"one")
    os.utime(path, (1000, 1000))
    content = FileContent(path)
    before = content.etag
    path.write_bytes(b"two")
    os.utime(path, (2000, 2000))
    assert content.etag != before
    assert content.last_modified == 2000


def test_open_file_keeps_its_version(tmp_path: Path) -> None:
    """A file replaced under an answer is served to its end in the version that was announced."""
    path = tmp_path / "a.mov"
    path.write_bytes(b"one")
    with FileContent(path).open() as opened:
        other = tmp_path / "b.mov"
        other.write_bytes(b"other")
        other.replace(path)
        assert (opened.read(0, 10), opened.size) == (b"one", 3)


def test_a_file_that_is_overwritten_is_read_no_further(tmp_path: Path) -> None:
    """An answer has bytes of one version only, whose ETag it has announced."""
    path = tmp_path / "a.mov"
    path.write_bytes(b"one two")
    with FileContent(path).open() as opened:
        before = os.fstat(opened.file.fileno()).st_mtime_ns
        assert opened.read(0, 3) == b"one"
        with path.open("r+b") as file:
            file.write(b"six")
        os.utime(path, ns=(before, before + 1))  # the clock of some file systems is coarse
        assert opened.read(3, 4) == b""


def test_file_that_is_gone(tmp_path: Path) -> None:
    """A missing file has no size and cannot be opened."""
    content = FileContent(tmp_path / "gone.mov", not_before=7)
    assert (content.size, content.last_modified) == (0, 7)
    with pytest.raises(OSError, match="gone"):
        content.open()


def test_equal_bytes_uploaded_later_are_another_version() -> None:
    """The ETag tells two uploads apart even when their bytes do not."""
    assert BytesContent(b"x", 1).etag != BytesContent(b"x", 2).etag
