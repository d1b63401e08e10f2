"""Sample files made without any tool are what their names say."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import wave
from pathlib import Path

import pytest

from backlotfs.demo import media as media_module
from backlotfs.demo.interruption import Interruption
from backlotfs.demo.media import make_media, write_moving_bars, write_tone
from backlotfs.demo.verification import digest

WIDTH, HEIGHT, FRAMES = 16, 8, 5
FRAME_BYTES = WIDTH * HEIGHT * 3

needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not here")


def test_a_tone_is_sound(tmp_path: Path) -> None:
    """The standard library reads it back: length, format, and not silence."""
    path = tmp_path / "tone.wav"
    write_tone(path, pitch_hz=440, seconds=2)
    with wave.open(str(path)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 48_000)
        assert sound.getnframes() == 96_000
        assert any(sound.readframes(100))


def test_two_pitches_are_two_files(tmp_path: Path) -> None:
    """Or a copy of one under the other's name would pass for right."""
    for pitch in (275, 330):
        write_tone(tmp_path / f"{pitch}.wav", pitch_hz=pitch, seconds=1)
    assert digest(tmp_path / "275.wav") != digest(tmp_path / "330.wav")


def chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a RIFF list, by name; the whole has to be used up."""
    found = {}
    while data:
        name, size = struct.unpack_from("<4sI", data)
        assert len(data) >= 8 + size
        found[name + (data[8:12] if name == b"LIST" else b"")] = data[8 : 8 + size]
        data = data[8 + size :]
    return found


def test_a_film_is_well_formed(tmp_path: Path) -> None:
    """Sizes nest exactly, the index points at the frames, and no two frames are equal."""
    path = tmp_path / "film.avi"
    write_moving_bars(path, width=WIDTH, height=HEIGHT, frames=FRAMES)
    data = path.read_bytes()
    assert data[:4] + data[8:12] == b"RIFFAVI "
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    parts = chunks(data[12:])
    movie = parts[b"LISTmovi"]
    frames = set()
    for entry in range(FRAMES):
        name, _, offset, size = struct.unpack_from("<4sIII", parts[b"idx1"], entry * 16)
        assert movie[offset : offset + 4] == name == b"00db"
        assert size == FRAME_BYTES
        frames.add(movie[offset + 8 : offset + 8 + size])
    assert len(frames) == FRAMES


@needs_ffprobe
def test_a_film_plays(tmp_path: Path) -> None:
    """ffprobe decodes every frame of it."""
    path = tmp_path / "film.avi"
    write_moving_bars(path, width=WIDTH, height=HEIGHT, frames=FRAMES)
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    probed = subprocess.run(command, capture_output=True, check=True)
    (stream,) = json.loads(probed.stdout)["streams"]
    assert (stream["codec_name"], stream["nb_read_frames"]) == ("rawvideo", str(FRAMES))
    assert (stream["width"], stream["height"]) == (WIDTH, HEIGHT)


@pytest.fixture
def short_master(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large film of a few frames."""
    monkeypatch.setattr(media_module, "_MASTER_FRAMES", 3)


@pytest.mark.usefixtures("short_master")
def test_without_ffmpeg_all_is_made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven files, no two with the same content."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    made = make_media(tmp_path, Interruption())
    assert not made.made_by_ffmpeg
    assert {path.suffix for path in made.paths} == {".avi", ".wav"}
    assert len({digest(path) for path in made.paths}) == len(made.paths) == 11


@pytest.mark.usefixtures("short_master")
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
    assert not made.made_by_ffmpeg


@needs_ffprobe
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not here")
@pytest.mark.usefixtures("short_master")
def test_the_mp4_has_its_index_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that ffprobe on the mount has to seek."""
    monkeypatch.setattr(media_module, "_FILM_SECONDS", 1)
    film = make_media(tmp_path, Interruption()).films[0].read_bytes()
    assert film.index(b"moov") > film.index(b"mdat")
