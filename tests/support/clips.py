# SPDX-License-Identifier: Apache-2.0
"""Two hundred playable videos: five real ones, each served under forty names."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from PIL import Image

from backlotfs.emulator import EmulatedAsset, FileContent
from tests.support.made_assets import video
from tests.support.programs import run_program

COUNT = 200
#: The preview image of the last one is all of this colour, as nothing else on a screen is.
MARK = (7, 200, 91)
_SECONDS = 30
#: Container by container, as cameras and editors leave them: an index at the end, at the head,
#: in pieces. All are larger than what a preview may cost.
_KINDS: dict[str, tuple[str, ...]] = {
    "mp4": ("-c:v", "libx264", "-preset", "ultrafast"),
    "mov": ("-c:v", "libx264", "-preset", "ultrafast", "-movflags", "+faststart"),
    "mkv": ("-c:v", "libx264", "-preset", "ultrafast"),
    "avi": ("-c:v", "mpeg4"),
    "mxf": ("-c:v", "mpeg2video"),
}


def make_clips(folder: Path) -> list[EmulatedAsset]:
    """`COUNT` assets, ``clip 000.mp4`` and so on, in the order of their names.

    :param folder: where the five files behind them are made.
    """
    for number, (kind, codec) in enumerate(_KINDS.items()):
        run_program(
            *("ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi"),
            *("-i", f"testsrc2=size=320x180:rate=25:duration={_SECONDS}"),
            # a tint of its own for each, and noise, or they would be too small
            *("-vf", f"hue=h={70 * number},noise=alls=40:allf=t"),
            *codec,
            *("-pix_fmt", "yuv420p", "-g", "25", "-b:v", "2M", "-minrate", "2M"),
            *("-maxrate", "2M", "-bufsize", "1M", str(folder / f"clip.{kind}")),
        )
    kinds = list(_KINDS)
    clips = [
        video(
            f"clip {number:03d}.{kinds[number % len(kinds)]}",
            FileContent(folder / f"clip.{kinds[number % len(kinds)]}"),
        )
        for number in range(COUNT)
    ]
    image = io.BytesIO()
    Image.new("RGB", (320, 180), MARK).save(image, "PNG")
    return [*clips[:-1], replace(clips[-1], preview_image=image.getvalue())]
