# SPDX-License-Identifier: Apache-2.0
"""The user's thumbnail cache."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from backlotfs.errors import BacklotError
from backlotfs.thumbnails.cache import SIZES, Original, ThumbnailCache
from backlotfs.thumbnails.picture import Picture, png_texts
from tests.unit.thumbnails.images import encoded, opened

FILM = Original("/m/a b.mov", 1_400_000_000, 12_345, "video/quicktime")


def cache_in(folder: Path, *sizes: str) -> ThumbnailCache:
    """A cache of these sizes, or of all."""
    return ThumbnailCache(folder / "thumbnails", sizes or SIZES, software="backlotfs test")


def test_as_the_standard_has_it(tmp_path: Path) -> None:
    """Folders, names, sizes, modes and texts; nothing is left beside them."""
    cache = cache_in(tmp_path)
    assert not cache.holds(FILM)
    cache.keep(FILM, Picture(encoded(1920, 1080)))
    assert cache.holds(FILM)
    made = sorted(tmp_path.rglob("*.png"))
    folders = [tmp_path / "thumbnails" / size for size in sorted(SIZES)]
    assert [path.parent for path in made] == folders
    assert len({path.name for path in made}) == 1
    assert len(list(tmp_path.rglob("*"))) == 1 + 2 * len(SIZES)
    for path in made:
        png = path.read_bytes()
        assert max(opened(png).size) == SIZES[path.parent.name]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert png_texts(png) == {
            "Thumb::URI": "file:///m/a%20b.mov",
            "Thumb::MTime": "1400000000",
            "Thumb::Size": "12345",
            "Thumb::Mimetype": "video/quicktime",
            "Software": "backlotfs test",
        }


@pytest.mark.parametrize(
    "other",
    [
        Original(FILM.path, FILM.mtime_s + 1, FILM.size),
        Original("/m/other.mov", FILM.mtime_s, FILM.size),
    ],
)
def test_of_another_file_or_version(tmp_path: Path, other: Original) -> None:
    """It is not held; making it takes the place of what is old."""
    cache = cache_in(tmp_path)
    cache.keep(FILM, Picture(encoded()))
    assert not cache.holds(other)
    cache.keep(other, Picture(encoded()))
    assert cache.holds(other)


def test_all_sizes_count(tmp_path: Path) -> None:
    """One that is missing or damaged is reason to make them anew."""
    cache_in(tmp_path, "large").keep(FILM, Picture(encoded()))
    assert not cache_in(tmp_path, "large", "normal").holds(FILM)
    [made] = tmp_path.rglob("*.png")
    made.write_bytes(made.read_bytes()[:30])
    assert not cache_in(tmp_path, "large").holds(FILM)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Says which, and what to set."""
    (tmp_path / "thumbnails").write_text("in the way")
    with pytest.raises(BacklotError, match="XDG_CACHE_HOME"):
        cache_in(tmp_path).keep(FILM, Picture(encoded()))


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither under the name nor beside it."""

    def full(*_paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BacklotError, match="No space left"):
        cache_in(tmp_path, "normal").keep(FILM, Picture(encoded()))
    assert not list(tmp_path.rglob("*.png"))
