# SPDX-License-Identifier: Apache-2.0
"""Pictures of hosts that are not trusted."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backlotfs.errors import InvalidRangeResponse, SettingsError
from backlotfs.thumbnails.picture import MAX_PIXELS, Picture, check_installed, png_texts
from tests.unit.thumbnails.images import encoded, opened


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_what_preview_images_come_as(kind: str) -> None:
    """Made to fit, its proportions kept, with its texts."""
    png = Picture(encoded(640, 360, kind=kind)).png(128, {"Thumb::URI": "file:///a"})
    assert opened(png).size == (128, 72)
    assert png_texts(png)["Thumb::URI"] == "file:///a"


def test_it_is_never_enlarged() -> None:
    """What is small stays small, as the standard has it."""
    assert opened(Picture(encoded(100, 50)).png(512, {})).size == (100, 50)


def test_one_picture_in_several_sizes() -> None:
    """None is made from a smaller one."""
    picture = Picture(encoded(640, 360))
    assert [opened(picture.png(edge, {})).width for edge in (128, 512, 256)] == [128, 512, 256]


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGB"])
def test_odd_colours(mode: str) -> None:
    """As RGB."""
    kind = "PNG" if mode == "P" else "JPEG"
    assert opened(Picture(encoded(mode=mode, kind=kind)).png(128, {})).mode == "RGB"


def test_transparency_stays() -> None:
    """A logo keeps its ground."""
    assert opened(Picture(encoded(mode="RGBA", kind="PNG")).png(128, {})).mode == "RGBA"


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO", "TGA", "PDF"])
def test_other_formats_are_refused(kind: str) -> None:
    """Each decoder more is a way in more."""
    with pytest.raises(InvalidRangeResponse, match="cannot be decoded"):
        Picture(encoded(64, 64, kind=kind))


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims so many pixels, in a kilobyte."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


@pytest.mark.parametrize("edges", [(7000, 6000), (20_000, 20_000), (1, MAX_PIXELS + 1)])
def test_a_bomb_is_refused_unopened(edges: tuple[int, int]) -> None:
    """By its header, whatever Pillow itself thinks of its size."""
    with pytest.raises(InvalidRangeResponse):
        Picture(bomb(*edges))


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_damaged_pictures_are_one_error(noise: bytes, at: int) -> None:
    """Cut, overwritten or no picture at all: a picture or `InvalidRangeResponse`, nothing else."""
    whole = encoded(64, 36)
    for damaged in (noise, whole[:at], whole[:at] + noise + whole[at + len(noise) :]):
        with contextlib.suppress(InvalidRangeResponse):
            Picture(damaged)


def test_a_bomb_of_scans_is_refused() -> None:
    """A few kilobytes of JPEG can say a thousand times that all pixels are to be gone over."""
    written = io.BytesIO()
    Image.new("RGB", (64, 64)).save(written, "JPEG", progressive=True)
    whole = written.getvalue()
    Picture(whole)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    with pytest.raises(InvalidRangeResponse, match="more than 64 scans"):
        Picture(whole[:-2] + 1000 * scan + whole[-2:])


def test_texts_of_what_is_no_png() -> None:
    """None."""
    assert png_texts(b"") == png_texts(encoded()) == png_texts(encoded(kind="PNG")[:20]) == {}


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SettingsError, match=r"pip install 'backlotfs\[thumbnails\]'"):
        check_installed()
