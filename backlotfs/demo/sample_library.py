"""The library of the demo: sample files under the names that real libraries are full of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backlotfs.demo.media import SampleMedia
from backlotfs.emulator import EmulatedAsset, Library
from backlotfs.emulator.assets import stable_embed_code
from backlotfs.emulator.content import Content, FileContent, SyntheticContent, seed_of

# Nothing of it is on disk; only what is read ever exists.
ENDLESS_BYTES = 100 * 10**9
MASTER_NAME = "Uncompressed master.avi"
ENDLESS_NAME = "Four days of the festival.mxf"
_FIRST_UPLOAD_S = 1_372_431_600  # 2013-06-28
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class SampleLibrary:
    """What the emulator serves.

    Attributes:
        library: all of it, for the emulator.
        files: the file on disk behind each embed code that has one.
        endless: the embed code of the one asset without a file.
        endless_content: its bytes, computed as they are asked for.
        master: the embed code of the large film.
        first_film: the embed code of the film that ffprobe looks at.
    """

    library: Library
    files: dict[str, Path]
    endless: str
    endless_content: SyntheticContent
    master: str
    first_film: str


def _asset(
    number: int, name: str | None, content: Content, *, title: str | None = None
) -> EmulatedAsset:
    return EmulatedAsset(
        embed_code=stable_embed_code(f"demo {number}"),
        title=title or f"Sample {number}",
        original_file_name=name,
        content=content,
        created_at=_FIRST_UPLOAD_S + number * _DAY_S,
    )


def build_library(media: SampleMedia) -> SampleLibrary:
    """Assets for all files of ``media``, and one of 100 GB that no disk holds."""
    first, second, third = media.films
    named: list[tuple[Path, str | None, str | None]] = [
        (media.master, MASTER_NAME, None),
        (first, f"Harbour at dawn{first.suffix}", None),
        (second, rf"C:\Users\Newsroom\Desktop\clip{second.suffix}", None),  # a browser's full path
        (third, f"夕焼け #3 [final], Übersicht{third.suffix}", None),
        (media.sounds[0], "interview.wav", None),
        (media.sounds[1], "interview.wav", None),  # the same name, another sound
        (media.sounds[2], "Interview.wav", None),  # the same but for case
        (media.sounds[3], "AC/DC live.wav", None),
        (media.sounds[4], None, "Untitled take"),  # no name: the title has to do
        (media.sounds[5], "A name that goes on " * 20 + ".wav", None),  # 404 bytes; 255 are allowed
        (media.sounds[6], "100 % «café»?\n.wav", None),
    ]
    assets = [
        _asset(number, name, FileContent(path), title=title)
        for number, (path, name, title) in enumerate(named)
    ]
    content = SyntheticContent(seed_of(ENDLESS_NAME), ENDLESS_BYTES, _FIRST_UPLOAD_S)
    endless = _asset(len(named), ENDLESS_NAME, content)
    return SampleLibrary(
        library=Library([*assets, endless]),
        files={asset.embed_code: path for asset, (path, _, _) in zip(assets, named, strict=True)},
        endless=endless.embed_code,
        endless_content=content,
        master=assets[0].embed_code,
        first_film=assets[1].embed_code,
    )
