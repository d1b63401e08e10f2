"""The sample files: films by ffmpeg when it is installed, else small ones made here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from backlotfs.demo import programs
from backlotfs.demo.interruption import Interruption
from backlotfs.demo.moving_bars import write_moving_bars
from backlotfs.demo.tone import write_tone

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
