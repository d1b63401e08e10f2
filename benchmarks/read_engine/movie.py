# SPDX-License-Identifier: Apache-2.0
"""A film of 20 GB whose index lies at its end, as cameras and editors write them; sparse on disk.

ffmpeg makes two hours of a small picture with sound. Its ``mdat`` is then stretched: each chunk of
samples goes to its share of the 20 GB and the index's chunk offsets are rewritten as 64 bits, so
the file is valid, its index has the size of a real film's, and only what ffmpeg made takes memory.
"""

from __future__ import annotations

import itertools
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_MINUTES = 120
_FILM_BYTES = 20_000_000_000


class Box(NamedTuple):
    """A part of an MP4 file: ``[start, stop)`` with a header of ``header_bytes``."""

    kind: bytes
    start: int
    header_bytes: int
    stop: int


def make_film(path: Path, size: int = _FILM_BYTES, minutes: int = _MINUTES) -> None:
    """Write a film of so many minutes: ``size`` bytes and the index.

    :raises SystemExit: ffmpeg is missing.
    :raises subprocess.CalledProcessError: ffmpeg fails.
    """
    short, long = path.with_name(".minute.mp4"), path.with_name(".hours.mp4")
    picture = ["-f", "lavfi", "-i", "testsrc2=size=64x36:rate=25:duration=60"]
    sound = ["-f", "lavfi", "-i", "sine=sample_rate=48000:duration=60"]
    _ffmpeg(*picture, *sound, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", str(short))
    _ffmpeg("-stream_loop", str(minutes - 1), "-i", str(short), "-c", "copy", str(long))
    stretch(long, path, size)
    short.unlink()
    long.unlink()


def stretch(original: Path, stretched: Path, size: int) -> None:
    """Copy an MP4 file with its chunks spread over ``size`` bytes, before its index.

    :raises ValueError: it has its index first, or no room for the chunks.
    """
    data = original.read_bytes()
    parts = {box.kind: box for box in boxes(data, 0, len(data))}
    media, index = parts[b"mdat"], parts[b"moov"]
    if index.start < media.start:
        raise ValueError(f"{original} has its index first")
    chunks = sorted(_chunk_offsets(data, index))
    lengths = [stop - start for start, stop in itertools.pairwise([*chunks, media.stop])]
    head = data[: parts[b"ftyp"].stop]
    first = len(head) + 16  # the header of an mdat of 64 bits
    stride = (size - first) // len(chunks)
    if max(lengths) > stride:
        raise ValueError(f"{size} bytes have no room for {len(chunks)} chunks")
    places = {start: first + number * stride for number, start in enumerate(chunks)}
    with stretched.open("wb") as file:
        file.write(head + struct.pack(">I4sQ", 1, b"mdat", size - len(head)))
        for start, length in zip(chunks, lengths, strict=True):
            file.seek(places[start])
            file.write(data[start : start + length])
        file.seek(size)
        file.write(_rebuilt(data, index, places.__getitem__))


def boxes(data: bytes, start: int, stop: int) -> Iterator[Box]:
    """The boxes that lie between two offsets, one after the other. Pure."""
    while start < stop:
        length, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if length == 1:
            header, (length,) = 16, struct.unpack_from(">Q", data, start + 8)
        yield Box(kind, start, header, start + (length or stop - start))
        start += length or stop - start


def _chunk_offsets(data: bytes, box: Box) -> Iterator[int]:
    if box.kind == b"stco":
        yield from _table(data, box)
    elif box.kind in _CONTAINERS:
        for inner in boxes(data, box.start + box.header_bytes, box.stop):
            yield from _chunk_offsets(data, inner)


def _rebuilt(data: bytes, box: Box, place: Callable[[int], int]) -> bytes:
    """A box with the chunk offsets in it moved and made 64 bits wide."""
    if box.kind == b"stco":
        offsets = [place(offset) for offset in _table(data, box)]
        body = struct.pack(f">II{len(offsets)}Q", 0, len(offsets), *offsets)
        return struct.pack(">I4s", 8 + len(body), b"co64") + body
    if box.kind not in _CONTAINERS:
        return data[box.start : box.stop]
    inner = boxes(data, box.start + box.header_bytes, box.stop)
    body = b"".join(_rebuilt(data, one, place) for one in inner)
    return struct.pack(">I4s", 8 + len(body), box.kind) + body


def _table(data: bytes, box: Box) -> tuple[int, ...]:
    (count,) = struct.unpack_from(">I", data, box.start + 12)
    return struct.unpack_from(f">{count}I", data, box.start + 16)


def _ffmpeg(*arguments: str) -> None:
    try:
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments], check=True)
    except FileNotFoundError:
        raise SystemExit("ffmpeg is missing: apt-get install ffmpeg") from None
