# SPDX-License-Identifier: Apache-2.0
"""Files that the benchmarks read: stamped ones, and a film with its index at the end."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from benchmarks.read_engine import movie
from benchmarks.read_engine.sources import MIB, require_memory, stamp, stamped_file


def test_each_mib_says_where_it_is(tmp_path: Path) -> None:
    """No two MiB begin alike, and the rest takes no room."""
    path = tmp_path / "a.mov"
    stamped_file(path, 64 * MIB)
    with path.open("rb") as file:
        for start in (0, 5 * MIB, 63 * MIB):
            file.seek(start)
            assert file.read(20).startswith(stamp(b"a.mov", start))
    assert stamp(b"a.mov", 0) != stamp(b"a.mov", MIB) != stamp(b"b.mov", MIB)
    assert path.stat().st_size == 64 * MIB
    assert path.stat().st_blocks * 512 < 8 * MIB


def test_too_little_memory_is_refused() -> None:
    """No machine has an exabyte free."""
    with pytest.raises(SystemExit, match="GiB of memory are free"):
        require_memory(2**60)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _small_film(chunks: list[bytes]) -> bytes:
    head = _box(b"ftyp", b"isom")
    first = len(head) + 8
    offsets = [first + sum(map(len, chunks[:number])) for number in range(len(chunks))]
    table = struct.pack(f">II{len(chunks)}I", 0, len(chunks), *offsets)
    index = _box(b"stco", table) + _box(b"stsz", b"kept")
    for kind in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        index = _box(kind, index)
    return head + _box(b"mdat", b"".join(chunks)) + index


def test_stretching_moves_chunks_and_their_offsets_alike(tmp_path: Path) -> None:
    """Every offset of the new index leads to the chunk that the old one's led to."""
    chunks = [b"first", b"second!", b"3"]
    original, stretched = tmp_path / "short.mp4", tmp_path / "long.mp4"
    original.write_bytes(_small_film(chunks))
    movie.stretch(original, stretched, 10_000)
    data = stretched.read_bytes()
    kinds = [(box.kind, box.start, box.stop) for box in movie.boxes(data, 0, len(data))]
    assert kinds == [
        (b"ftyp", 0, 12),
        (b"mdat", 12, 10_000),
        (b"moov", 10_000, len(data)),
    ]
    table = data.index(b"co64") + 4
    assert b"stsz" + b"kept" in data
    offsets = struct.unpack_from(">3Q", data, table + 8)
    assert [data[at : at + len(chunk)] for at, chunk in zip(offsets, chunks, strict=True)] == chunks
    assert offsets[2] > 6_000


def test_an_index_at_the_front_is_refused(tmp_path: Path) -> None:
    """Only what has its index last can be stretched without moving it."""
    path = tmp_path / "front.mp4"
    path.write_bytes(_box(b"ftyp", b"isom") + _box(b"moov", b"") + _box(b"mdat", b"x"))
    with pytest.raises(ValueError, match="index first"):
        movie.stretch(path, tmp_path / "out", 1000)


def test_a_film_without_room_is_refused(tmp_path: Path) -> None:
    """Chunks that would overlap are not written."""
    path = tmp_path / "film.mp4"
    path.write_bytes(_small_film([b"x" * 100, b"y" * 100]))
    with pytest.raises(ValueError, match="no room"):
        movie.stretch(path, tmp_path / "out", 150)


def test_ffprobe_reads_a_stretched_film(tmp_path: Path) -> None:
    """The film is valid: ffprobe finds its streams and its length, and decodes a late frame."""
    short, film = tmp_path / "short.mp4", tmp_path / "film.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=64x36:rate=25:duration=4"]
    encode = ["-c:v", "libx264", "-preset", "ultrafast"]
    subprocess.run(["ffmpeg", "-v", "error", *picture, *encode, str(short)], check=True)
    movie.stretch(short, film, 5_000_000_000)
    show = ["-show_entries", "format=duration,size:stream=nb_read_packets", "-count_packets"]
    command = ["ffprobe", "-v", "error", *show, "-of", "json", str(film)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert found["format"]["duration"] == "4.000000"
    assert found["streams"][0]["nb_read_packets"] == "100"
    assert int(found["format"]["size"]) > 5_000_000_000
