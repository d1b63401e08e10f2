# SPDX-License-Identifier: Apache-2.0
"""ffmpeg, mpv and VLC in the middle of a film: the right frame, without fetching the whole film."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from tests.support.film_mount import FILM_SECONDS, FilmMount
from tests.support.made_assets import MIB
from tests.support.programs import run_program

pytestmark = [pytest.mark.mounted, pytest.mark.desktop("ffmpeg")]

_START_S = FILM_SECONDS // 2
_PIECE_S = 5
_PICTURES = 10


@pytest.fixture(params=["index at the end.mp4", "matroska.mkv"])
def film(request: pytest.FixtureRequest) -> str:
    """A name on the mount."""
    return str(request.param)


def test_ffmpeg_seeks_and_transcodes(films: FilmMount, film: str, tmp_path: Path) -> None:
    """``-ss`` and five seconds to another codec: as long as asked for, and the right frames."""
    seek = ("-ss", str(_START_S), "-t", str(_PIECE_S), "-i")
    encode = ("-map", "0:v:0", "-map", "0:a:0", "-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2")
    piece = tmp_path / "piece.mkv"
    run_program("ffmpeg", "-nostdin", "-v", "error", *seek, films.path / film, *encode, piece)
    seconds = run_program(
        "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", piece
    )
    assert float(seconds) == pytest.approx(_PIECE_S, abs=0.2)
    decoded = [
        run_program("ffmpeg", "-nostdin", "-v", "error", *seek, place, "-f", "framemd5", "-")
        for place in (films.path / film, films.originals[film])
    ]
    assert decoded[0].count("\n") > _PIECE_S * 25
    assert decoded[0] == decoded[1]


@pytest.mark.desktop("mpv")
def test_mpv_plays_from_the_middle(fresh_films: FilmMount, film: str, tmp_path: Path) -> None:
    """Some pictures from ``--start``: they are those of the original."""
    shown = _mpv(fresh_films.path / film, tmp_path / "mount")
    assert len(shown) == _PICTURES
    assert shown == _mpv(fresh_films.originals[film], tmp_path / "disk")
    assert shown[0] != shown[-1]
    # what lies before the start is not fetched, but for the head and the index
    assert fresh_films.fetched() < fresh_films.originals[film].stat().st_size * 0.8


@pytest.mark.desktop("cvlc")
def test_vlc_plays_from_the_middle(fresh_films: FilmMount, film: str) -> None:
    """Two seconds from ``--start-time``; what it plays goes to a file, which is as long."""
    with tempfile.TemporaryDirectory(prefix="backlotfs-vlc-") as folder:
        Path(folder).chmod(0o777)
        played = Path(folder, "played.ts")
        run_program(
            *("cvlc", "--no-video-title-show", "--play-and-exit"),
            *(f"--start-time={_START_S}", f"--stop-time={_START_S + 2}"),
            *("--sout", f"#std{{access=file,mux=ts,dst={played}}}"),
            *(fresh_films.path / film, "vlc://quit"),
            # VLC refuses to run as root
            user="nobody" if os.geteuid() == 0 else None,
            environment={**os.environ, "HOME": folder, "XDG_RUNTIME_DIR": folder},
        )
        seconds = run_program(
            "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", played
        )
    assert float(seconds) == pytest.approx(2, abs=1.5)
    # it writes faster than it would play, and reads on to the end; but nothing twice
    assert fresh_films.fetched() <= fresh_films.originals[film].stat().st_size + MIB


def _mpv(film: Path, pictures: Path) -> list[str]:
    """Play some pictures; a checksum of each picture."""
    run_program(
        *("mpv", "--no-config", "--really-quiet", "--no-terminal", f"--start={_START_S}"),
        *("--hr-seek=yes", f"--frames={_PICTURES}", "--ao=null", "--no-audio"),
        *(
            "--vo=image",
            "--vo-image-format=png",
            "--vo-image-png-compression=0",
            f"--vo-image-outdir={pictures}",
            film,
        ),
    )
    return [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(pictures.glob("*.png"))]
