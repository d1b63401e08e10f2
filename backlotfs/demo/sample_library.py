# SPDX-License-Identifier: Apache-2.0
"""The library of the demo: playable sample files, under the odd names of real libraries."""

from __future__ import annotations

import math
import shutil
import struct
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backlotfs.demo.terminal import Interruption, run
from backlotfs.emulator import EmulatedAsset, Library
from backlotfs.emulator.assets import (
    Content,
    EmulatedLabel,
    FileContent,
    SyntheticContent,
    seed_of,
    stable_embed_code,
)

#: The size of the one asset without a file: its bytes are computed when they are read.
ENDLESS_BYTES = 100 * 10**9
MASTER_NAME = "Uncompressed master.y4m"
ENDLESS_NAME = "Four days of the festival.mxf"
_FIRST_UPLOAD_S = 1_372_431_600  # 2013-06-28
_DAY_S = 86_400
_SAMPLES_PER_S = 48_000
_LOUDNESS = 8_000  # of 32 767: pleasant on headphones
# 388 frames of 640 by 360 pixels are 134 MB: enough to measure a throughput, and copied in about a
# second.
_MASTER_FRAMES = 388
_CLIP_FRAMES = 25
_FILM_SECONDS = 10
_SOUND_SECONDS = 4


@dataclass(frozen=True, slots=True)
class SampleLibrary:
    """What the emulator serves.

    :ivar library: all of it, for the emulator.
    :ivar files: the file on disk behind each embed code that has one.
    :ivar endless: the embed code of the one asset without a file.
    :ivar endless_content: its bytes, computed when they are read.
    :ivar master: the embed code of the large film.
    :ivar first_film: the embed code of the film that ffprobe looks at.
    """

    library: Library
    files: dict[str, Path]
    endless: str
    endless_content: SyntheticContent
    master: str
    first_film: str


_LABELS = (
    EmulatedLabel("festival", "Festival", None),
    EmulatedLabel("interviews", "Interviews", "festival"),
    EmulatedLabel("harbour", "Harbour", None),
)


def _labels_of(name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    if name.lower().startswith("interview"):
        return ("interviews",)
    return ("harbour",) if name.startswith("Harbour") else ("festival",)


def build_library(media: Sequence[Path]) -> SampleLibrary:
    """Assets for the eleven files of `make_media`, and an asset of 100 GB without a file."""
    names = (
        MASTER_NAME,
        f"Harbour at dawn{media[1].suffix}",
        rf"C:\Users\Newsroom\Desktop\clip{media[2].suffix}",  # a browser's full path
        f"夕焼け #3 [final], Übersicht{media[3].suffix}",
        "interview.wav",
        "interview.wav",  # the same name, another sound
        "Interview.wav",  # the same but for case
        "AC/DC live.wav",
        None,  # without a name, the title names the file
        "A name that goes on " * 20 + ".wav",  # 404 bytes; 255 are allowed
        "100 % «café»?\n.wav",
    )
    endless_content = SyntheticContent(seed_of(ENDLESS_NAME), ENDLESS_BYTES, _FIRST_UPLOAD_S)
    contents: list[Content] = [*map(FileContent, media), endless_content]
    assets = [
        EmulatedAsset(
            embed_code=stable_embed_code(f"demo {number}"),
            title="Untitled take" if name is None else f"Sample {number}",
            original_file_name=name,
            content=content,
            created_at=_FIRST_UPLOAD_S + number * _DAY_S,
            description="Made by backlotfs demo",
            label_ids=_labels_of(name),
        )
        for number, (name, content) in enumerate(zip((*names, ENDLESS_NAME), contents, strict=True))
    ]
    codes = [asset.embed_code for asset in assets]
    return SampleLibrary(
        library=Library(assets, _LABELS),
        files=dict(zip(codes[:-1], media, strict=True)),
        endless=codes[-1],
        endless_content=endless_content,
        master=codes[0],
        first_film=codes[1],
    )


def make_media(folder: Path, interruption: Interruption) -> list[Path]:
    """A large film, three short ones and seven sounds, each playable, no two the same.

    The first short film is an MP4 with its index at the end where ffmpeg can make one.

    :raises OSError: a file cannot be written, for example because the disk is full.
    :raises Stopped: on a signal.
    """
    master, *films = (folder / f"film-{number}.y4m" for number in range(4))
    write_moving_bars(master, width=640, height=360, frames=_MASTER_FRAMES)
    for number, path in enumerate(films, 1):
        write_moving_bars(path, width=160 * number, height=90 * number, frames=_CLIP_FRAMES)
    films[0] = _compressed(films[0], interruption) or films[0]
    sounds = [folder / f"sound-{number}.wav" for number in range(1, 8)]
    for number, path in enumerate(sounds, 1):
        write_tone(path, pitch_hz=220 + 55 * number, seconds=_SOUND_SECONDS)
    return [master, *films, *sounds]


def _compressed(film: Path, interruption: Interruption) -> Path | None:
    """An MP4 beside ``film``, or None without an ffmpeg that can make one."""
    if shutil.which("ffmpeg") is None:
        return None
    path = film.with_suffix(".mp4")
    pattern = f"testsrc2=size=1280x720:rate=25:duration={_FILM_SECONDS}"
    command = [
        *("ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", pattern),
        *("-f", "lavfi", "-i", f"sine=frequency=440:duration={_FILM_SECONDS}"),
        # encoders that every build has; without +faststart the index comes last
        *("-c:v", "mpeg4", "-q:v", "4", "-c:a", "aac", str(path)),
    ]
    return path if run(command, interruption).status == 0 else None


def write_tone(path: Path, *, pitch_hz: int, seconds: int) -> None:
    """Write a mono 16-bit WAV; two pitches give two different files.

    :param pitch_hz: a whole number, so that one second joins the next without a click.
    """
    turn = 2 * math.pi * pitch_hz / _SAMPLES_PER_S
    samples = (round(_LOUDNESS * math.sin(turn * n)) for n in range(_SAMPLES_PER_S))
    second = struct.pack(f"<{_SAMPLES_PER_S}h", *samples)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_SAMPLES_PER_S)
        sound.writeframes(second * seconds)


def write_moving_bars(path: Path, *, width: int, height: int, frames: int) -> None:
    """Write uncompressed video (YUV4MPEG2, 4:2:0), each frame different from the one before.

    :param width: in pixels, even, as is ``height``.
    :param frames: at 25 a second; they repeat after ``width`` frames.
    """
    greys = bytes(255 - abs(510 * x // width - 255) for x in range(width)) * 2
    blues = b"".join(bytes([255 * y // height]) * (width // 2) for y in range(0, height, 2))
    reds = bytes(255 * x // width for x in range(0, width, 2)) * (height // 2)
    with path.open("wb") as film:
        film.write(f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\n".encode())
        for frame in range(frames):
            starts = ((frame + y) % width for y in range(height))
            picture = b"".join(greys[start : start + width] for start in starts)
            film.write(b"FRAME\n" + picture + blues + reds)
