"""The sample files: films by ffmpeg where it is installed, else small ones made here."""

from __future__ import annotations

import array
import math
import shutil
import struct
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

from backlotfs.demo import programs
from backlotfs.demo.interruption import Interruption

_SAMPLES_PER_S = 48_000
_LOUDNESS = 8_000  # of 32 767: pleasant on headphones


def write_tone(path: Path, *, pitch_hz: int, seconds: int) -> None:
    """Write a mono 16-bit WAV; two pitches give two different files.

    :param pitch_hz: a whole number, so that one second joins the next without a click.
    """
    second = array.array(
        "h",
        (
            round(_LOUDNESS * math.sin(2 * math.pi * pitch_hz * n / _SAMPLES_PER_S))
            for n in range(_SAMPLES_PER_S)
        ),
    )
    if sys.byteorder == "big":
        second.byteswap()
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_SAMPLES_PER_S)
        for _ in range(seconds):
            sound.writeframesraw(second.tobytes())


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


# 194 frames of 640 by 360 pixels are 134 MB: enough for a throughput that means something, and
# copied in about a second.
_MASTER_FRAMES = 194
_CLIP_FRAMES = 25
_FILM_SECONDS = 10
_SOUND_SECONDS = 4


@dataclass(frozen=True, slots=True)
class SampleMedia:
    """Files on disk, each playable, no two with the same content.

    Attributes:
        master: a large uncompressed film.
        films: three short films; the first is an MP4 with its index at the end when ffmpeg made it.
        sounds: seven short sounds.
        made_by_ffmpeg: whether ffmpeg made the films.
    """

    master: Path
    films: tuple[Path, ...]
    sounds: tuple[Path, ...]
    made_by_ffmpeg: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.master, *self.films, *self.sounds)


def _ffmpeg(path: Path, pattern: str, *options: str) -> list[str]:
    return [
        *("ffmpeg", "-nostdin", "-v", "error", "-y"),
        *("-f", "lavfi", "-i", f"{pattern}=size=1280x720:rate=25:duration={_FILM_SECONDS}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:duration={_FILM_SECONDS}"),
        # encoders that every build has
        *("-c:v", "mpeg4", "-q:v", "4", "-c:a", "aac", *options, str(path)),
    ]


def _films_by_ffmpeg(folder: Path, interruption: Interruption) -> tuple[Path, ...] | None:
    if shutil.which("ffmpeg") is None:
        return None
    wanted = {
        folder / "film-1.mp4": ("testsrc2", ()),  # mp4 without faststart: the index comes last
        folder / "film-2.mov": ("testsrc", ("-movflags", "+faststart")),
        folder / "film-3.mkv": ("smptebars", ()),
    }
    for path, (pattern, options) in wanted.items():
        if programs.run(_ffmpeg(path, pattern, *options), interruption).status != 0:
            return None
    return tuple(wanted)


def make_media(folder: Path, interruption: Interruption) -> SampleMedia:
    """Fill ``folder``. An ffmpeg that cannot make the films is as good as none.

    :raises OSError: when the disk is full or the like.
    :raises Stopped: on a signal.
    """
    master = folder / "master.avi"
    write_moving_bars(master, width=640, height=360, frames=_MASTER_FRAMES)
    films = _films_by_ffmpeg(folder, interruption)
    by_ffmpeg = films is not None
    if films is None:
        films = tuple(folder / f"film-{number}.avi" for number in (1, 2, 3))
        for number, path in enumerate(films, 1):
            write_moving_bars(path, width=160 * number, height=90 * number, frames=_CLIP_FRAMES)
    sounds = tuple(folder / f"sound-{number}.wav" for number in range(1, 8))
    for number, path in enumerate(sounds, 1):
        write_tone(path, pitch_hz=220 + 55 * number, seconds=_SOUND_SECONDS)
    return SampleMedia(master, films, sounds, by_ffmpeg)
