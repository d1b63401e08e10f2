"""A playable sound file, made without any tool: a sine wave as WAV."""

from __future__ import annotations

import array
import math
import sys
import wave
from pathlib import Path

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
