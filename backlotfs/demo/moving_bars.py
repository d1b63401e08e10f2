"""A playable film, made without any tool: colours that move, as uncompressed AVI."""

from __future__ import annotations

import struct
from pathlib import Path

_FRAMES_PER_S = 25
_BYTES_PER_PIXEL = 3
_HAS_INDEX = 0x10
_KEY_FRAME = 0x10


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body


def _list(kind: bytes, *chunks: bytes) -> bytes:
    return _chunk(b"LIST", kind + b"".join(chunks))


def _headers(width: int, height: int, frames: int) -> bytes:
    frame_bytes = width * height * _BYTES_PER_PIXEL
    main = struct.pack(
        "<14I",
        *(1_000_000 // _FRAMES_PER_S, frame_bytes * _FRAMES_PER_S, 0, _HAS_INDEX, frames, 0, 1),
        *(frame_bytes, width, height, 0, 0, 0, 0),
    )
    stream = struct.pack(
        "<4s4sIHHIIIIIIII4H",
        *(b"vids", b"DIB ", 0, 0, 0, 0, 1, _FRAMES_PER_S, 0, frames, frame_bytes, 0, 0),
        *(0, 0, width, height),
    )
    bitmap = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 8 * _BYTES_PER_PIXEL, 0, frame_bytes, 0, 0, 0, 0
    )
    streams = _list(b"strl", _chunk(b"strh", stream), _chunk(b"strf", bitmap))
    return _list(b"hdrl", _chunk(b"avih", main), streams)


def _row_of_colours(width: int) -> bytes:
    """Two turns of a colour wheel (as B, G, R), so that a slice anywhere is one whole turn."""
    wheel = bytearray()
    for column in range(width):
        at = column * 765 // width  # 3 times 255: one third of the turn for each pair of colours
        for third in (510, 255, 0):
            wheel.append(max(0, 255 - min(abs(at - third), abs(at - third - 765))))
    return bytes(wheel) * 2


def write_moving_bars(path: Path, *, width: int, height: int, frames: int) -> None:
    """Write an AVI 1.0 of uncompressed 24-bit frames, each different from the one before.

    :param width: in pixels, a multiple of 4 (rows are padded otherwise).
    :param frames: at 25 a second; the whole file has to stay below 1 GiB.
    """
    row_bytes = width * _BYTES_PER_PIXEL
    frame_bytes = row_bytes * height
    colours = _row_of_colours(width)
    movie_bytes = 4 + frames * (8 + frame_bytes)
    headers = _headers(width, height, frames)
    index = b"".join(
        struct.pack("<4sIII", b"00db", _KEY_FRAME, 4 + n * (8 + frame_bytes), frame_bytes)
        for n in range(frames)
    )
    riff_bytes = 4 + len(headers) + 8 + movie_bytes + 8 + len(index)
    with path.open("wb") as film:
        film.write(struct.pack("<4sI4s", b"RIFF", riff_bytes, b"AVI ") + headers)
        film.write(struct.pack("<4sI4s", b"LIST", movie_bytes, b"movi"))
        for frame in range(frames):
            starts = ((frame * 2 + y) % width * _BYTES_PER_PIXEL for y in range(height))
            picture = b"".join(colours[start : start + row_bytes] for start in starts)
            film.write(_chunk(b"00db", picture))
        film.write(_chunk(b"idx1", index))
