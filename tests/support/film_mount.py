# SPDX-License-Identifier: Apache-2.0
"""A mounted library of real films, with the files that they were made from and what was fetched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from backlotfs.emulator import Emulator, FileContent
from tests.support.made_assets import video
from tests.support.mounting import Mount
from tests.support.programs import run_program
from tests.support.request_log import ended_requests

#: Of each film; 25 frames a second, the frame's time in the picture (testsrc2).
FILM_SECONDS = 40
#: A module's tests share a mount: longer than all of them take on a slow machine.
_LIFE_S = 300.0
#: Container by container; the first MP4 has its index at the end, as cameras and editors leave it.
_FILMS: dict[str, tuple[str, ...]] = {
    "index at the end.mp4": (),
    "Müller, Größe 10%.mov": ("-movflags", "+faststart"),
    "matroska.mkv": (),
}


@dataclass(frozen=True, slots=True)
class FilmMount:
    """A mount of films.

    Attributes:
        mount: it, running.
        emulator: what it mounts.
        originals: name on the mount → the file on disk that the film's bytes come from.
    """

    mount: Mount
    emulator: Emulator
    originals: dict[str, Path]

    @property
    def path(self) -> Path:
        """The mountpoint."""
        return self.mount.path

    @property
    def size(self) -> int:
        """Bytes of all films together."""
        return sum(original.stat().st_size for original in self.originals.values())

    def fetched(self) -> int:
        """Body bytes that the source host has sent so far, once all transfers have ended."""
        return sum(entry.bytes_sent for entry in ended_requests(self.emulator, route="source"))


def make_film(path: Path, *options: str) -> Path:
    """A film of moving bars with sound, about 0.4 MB a second: too large to be read by a look."""
    run_program(
        *("ffmpeg", "-nostdin", "-v", "error", "-y"),
        *("-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=25:duration={FILM_SECONDS}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:duration={FILM_SECONDS}"),
        # encoders that every build has
        *("-c:v", "mpeg4", "-q:v", "1", "-g", "25", "-c:a", "aac", *options),
        path,
    )
    return path


def make_films(folder: Path) -> dict[str, Path]:
    """Name of a film to its file in ``folder``."""
    return {name: make_film(folder / name, *options) for name, options in _FILMS.items()}


@contextlib.contextmanager
def film_mount(
    serve: Callable[..., Emulator], originals: dict[str, Path], folder: Path, *options: str
) -> Iterator[FilmMount]:
    """Serve these films and mount them with ``options``, in ``folder``; ends cleanly."""
    emulator = serve(*(video(name, FileContent(path)) for name, path in originals.items()))
    with Mount(emulator, folder, *options, life_s=_LIFE_S) as mount:
        yield FilmMount(mount, emulator, originals)
