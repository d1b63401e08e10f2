# SPDX-License-Identifier: Apache-2.0
"""Where a file's index is, by its name and by its head."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.prefetch.index_patterns import (
    HEAD_BYTES,
    INDEX_BYTES,
    MIN_FILE_BYTES,
    TAIL_BYTES,
    likely_index,
    next_index_range,
)

GIB = 1 << 30
SIZE = 20 * GIB


def box(kind: bytes, length: int) -> bytes:
    """An ISO media box that claims to be this long, as short as can be."""
    if length < 1 << 32:
        return struct.pack(">I4s", length, kind)
    return struct.pack(">I4sQ", 1, kind, length)


FTYP = box(b"ftyp", 24) + bytes(16)
EBML = bytes.fromhex("1a45dfa3") + b"\x84" + bytes(4)


def element(kind: str, value: bytes) -> bytes:
    """A Matroska element with a size of one byte."""
    return bytes.fromhex(kind) + bytes([0x80 | len(value)]) + value


def matroska(cues_at: int, *, wide_size: bool = True) -> bytes:
    """The head of a Matroska file whose seek head says where the cues are."""
    entries = element("4dbb", element("53ab", bytes.fromhex("1549a966")) + element("53ac", b"\x40"))
    entries += element(
        "4dbb", element("53ab", bytes.fromhex("1c53bb6b")) + element("53ac", cues_at.to_bytes(6))
    )
    size = bytes.fromhex("01ffffffffffffff") if wide_size else b"\xff"
    return EBML + bytes.fromhex("18538067") + size + element("114d9b74", entries)


def mxf(footer: int) -> bytes:
    """A header partition pack, its length in four bytes."""
    key = bytes.fromhex("060e2b34020501010d01020101020400")
    return key + b"\x83\x00\x00\x78" + struct.pack(">HHIQQQ", 1, 3, 512, 0, 0, footer)


def avi(movie: int) -> bytes:
    """RIFF with an odd chunk before the list of frames."""
    header = struct.pack("<4sI4s", b"LIST", 40, b"hdrl") + bytes(36)
    junk = struct.pack("<4sI", b"JUNK", 3) + bytes(4)
    return b"RIFF\0\0\0\0AVI " + header + junk + struct.pack("<4sI4s", b"LIST", movie, b"movi")


@pytest.mark.parametrize(
    ("head", "start"),
    [
        (FTYP + box(b"mdat", 19 * GIB), 24 + 19 * GIB),
        (FTYP + box(b"free", 8) + box(b"mdat", 3 * GIB), 32 + 3 * GIB),
        (box(b"wide", 8) + box(b"mdat", GIB), 8 + GIB),
        (avi(GIB), 12 + 48 + 12 + 8 + GIB),
        (mxf(18 * GIB), 18 * GIB),
        (matroska(17 * GIB), len(EBML) + 12 + 17 * GIB),
        (matroska(17 * GIB, wide_size=False), len(EBML) + 5 + 17 * GIB),
    ],
)
def test_an_index_behind_the_media(head: bytes, start: int) -> None:
    """Its beginning is named exactly, and no more of it than one may fetch for a look."""
    padded = head.ljust(HEAD_BYTES, b"\0")
    assert next_index_range(padded, SIZE) == ByteRange(start, start + INDEX_BYTES)


@pytest.mark.parametrize(
    "head",
    [
        FTYP + box(b"moov", 5_000_000),  # the index is here already
        FTYP + box(b"mdat", 0),  # up to the end of the file
        FTYP + box(b"mdat", SIZE - 24),  # nothing behind it: fragments, or not closed
        FTYP + box(b"mdat", 1 << 62),
        FTYP + box(b"free", 5000) + bytes(5000),  # the rest lies beyond the head
        FTYP + box(b"free", 0) + bytes(5000),
        mxf(0),
        mxf(100),
        EBML + bytes.fromhex("18538067ff"),
        EBML + bytes.fromhex("1654ae6b81"),
        b"RIFF\0\0\0\0WAVE",
        b"\x47" * 188,
        b"",
    ],
)
def test_no_index_to_be_found(head: bytes) -> None:
    """Where the head does not say, or says what cannot be."""
    assert next_index_range(head, SIZE) is None


def test_a_small_file_needs_no_guess() -> None:
    """Its end comes with the first windows."""
    assert next_index_range(FTYP + box(b"mdat", MIN_FILE_BYTES // 2), MIN_FILE_BYTES - 1) is None
    assert likely_index("clip.mp4", MIN_FILE_BYTES - 1) is None


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("/a/clip.MP4", True),
        ("clip.mov", True),
        ("show.mkv", True),
        ("tape.mxf", True),
        ("old.avi", True),
        ("stream.ts", False),
        ("notes.txt", False),
        ("mp4", False),
        ("", False),
    ],
)
def test_names(name: str, *, likely: bool) -> None:
    """The end of a file, if files of its kind keep an index there."""
    expected = ByteRange(SIZE - TAIL_BYTES, SIZE) if likely else None
    assert likely_index(name, SIZE) == expected


@given(
    start=st.sampled_from(
        [b"", FTYP, EBML, matroska(5), mxf(5)[:17], avi(5)[:20], box(b"mdat", 9)]
    ),
    rest=st.binary(max_size=200),
    size=st.integers(0, 1 << 70),
)
def test_hostile_heads(start: bytes, rest: bytes, size: int) -> None:
    """Any bytes give nothing, or a place inside the file."""
    found = next_index_range(start + rest, size)
    assert found is None or 0 < found.start < found.stop <= size
