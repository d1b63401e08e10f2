# SPDX-License-Identifier: Apache-2.0
"""mediainfo and exiftool over a tree of videos: right answers, and little fetched for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.film_mount import FILM_SECONDS, FilmMount
from tests.support.programs import run_program

pytestmark = [pytest.mark.mounted, pytest.mark.desktop("ffmpeg")]

#: Of all bytes: what a program that looks at headers may cost.
_PART_OF_ALL = 0.5


@pytest.mark.desktop("mediainfo")
def test_mediainfo_reads_the_tree(fresh_films: FilmMount) -> None:
    """It says of each film what it says of the original; headers alone cost little."""
    before = fresh_films.fetched()
    quick = _mediainfo(fresh_films.path, "--ParseSpeed=0")
    assert fresh_films.fetched() - before < fresh_films.size * _PART_OF_ALL
    seen = _mediainfo(fresh_films.path)
    assert sorted(seen) == sorted(quick) == sorted(fresh_films.originals)
    for name, original in fresh_films.originals.items():
        assert seen[name] == _mediainfo(original)[name]
        for track in seen[name], quick[name]:
            assert float(track["Duration"]) == pytest.approx(FILM_SECONDS, abs=0.2)


@pytest.mark.desktop("exiftool")
def test_exiftool_reads_the_tree(fresh_films: FilmMount) -> None:
    """The same by exiftool, recursively."""
    before = fresh_films.fetched()
    seen = _exiftool(fresh_films.path)
    assert fresh_films.fetched() - before < fresh_films.size * _PART_OF_ALL
    assert sorted(seen) == sorted(fresh_films.originals)
    for name, original in fresh_films.originals.items():
        assert seen[name] == _exiftool(original)[name]
        assert f":{FILM_SECONDS}" in f":{seen[name]['Duration']}"


def _mediainfo(path: Path, *options: str) -> dict[str, dict[str, str]]:
    """File name to its general track, without what differs between two places of a file."""
    answer = json.loads(run_program("mediainfo", "--Output=JSON", *options, path))
    general = {}
    for file in answer if isinstance(answer, list) else [answer]:
        [track] = [track for track in file["media"]["track"] if track["@type"] == "General"]
        kept = {key: value for key, value in track.items() if not key.startswith("File_")}
        general[Path(file["media"]["@ref"]).name] = kept
    return general


def _exiftool(path: Path) -> dict[str, dict[str, object]]:
    """File name to what it says about the film, without what differs between two places."""
    answer = json.loads(
        run_program("exiftool", "-json", "-n", "-r", "-charset", "filename=utf8", path)
    )
    of_the_place = ("File", "Directory", "SourceFile")
    return {
        file["FileName"]: {
            key: value for key, value in file.items() if not key.startswith(of_the_place)
        }
        for file in answer
    }
