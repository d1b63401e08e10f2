# SPDX-License-Identifier: Apache-2.0
"""Sample files made without any tool are what their names say."""

from __future__ import annotations

import json
import shutil
import subprocess
import wave
from pathlib import Path

import pytest

from backlotfs.demo import sample_library
from backlotfs.demo.sample_library import make_media, write_moving_bars, write_tone
from backlotfs.demo.terminal import Interruption
from backlotfs.demo.tour import digest

needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not here")


def test_a_tone_is_sound(tmp_path: Path) -> None:
    """The standard library reads it back: length, format, and not silence."""
    path = tmp_path / "tone.wav"
    write_tone(path, pitch_hz=440, seconds=2)
    with wave.open(str(path)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 48_000)
        assert sound.getnframes() == 96_000
        assert any(sound.readframes(100))


def test_a_film_has_a_header_and_whole_frames(tmp_path: Path) -> None:
    """No two of them are equal, so that a frame in another's place would be noticed."""
    path = tmp_path / "film.y4m"
    write_moving_bars(path, width=16, height=8, frames=16)
    header, _, frames = path.read_bytes().partition(b"\n")
    assert header.split()[:4] == [b"YUV4MPEG2", b"W16", b"H8", b"F25:1"]
    size = len(b"FRAME\n") + 16 * 8 * 3 // 2
    found = [frames[at : at + size] for at in range(0, len(frames), size)]
    assert {(frame[:6], len(frame)) for frame in found} == {(b"FRAME\n", size)}
    assert len(set(found)) == len(found) == 16


@needs_ffprobe
def test_a_film_plays(tmp_path: Path) -> None:
    """ffprobe decodes every frame of it."""
    path = tmp_path / "film.y4m"
    write_moving_bars(path, width=16, height=8, frames=5)
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    probed = subprocess.run(command, capture_output=True, check=True)
    (stream,) = json.loads(probed.stdout)["streams"]
    assert (stream["codec_name"], stream["nb_read_frames"]) == ("rawvideo", "5")
    assert (stream["width"], stream["height"]) == (16, 8)


@pytest.fixture(autouse=True)
def short_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large film of a few frames, and an MP4 of a second."""
    monkeypatch.setattr(sample_library, "_MASTER_FRAMES", 3)
    monkeypatch.setattr(sample_library, "_FILM_SECONDS", 1)


def test_without_ffmpeg_all_is_made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven files, no two with the same content."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    made = make_media(tmp_path, Interruption())
    assert {path.suffix for path in made} == {".y4m", ".wav"}
    assert len({digest(path) for path in made}) == len(made) == 11


def test_an_ffmpeg_that_fails_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build without the encoders must not end the demo."""
    broken = tmp_path / "bin" / "ffmpeg"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no such encoder >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent), prepend=":")
    made = make_media(tmp_path, Interruption())
    assert made[1].suffix == ".y4m"
    assert made[1].exists()


@needs_ffprobe
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not here")
def test_the_mp4_has_its_index_at_the_end(tmp_path: Path) -> None:
    """So that ffprobe on the mount has to seek."""
    film = make_media(tmp_path, Interruption())[1].read_bytes()
    assert film.index(b"moov") > film.index(b"mdat")
