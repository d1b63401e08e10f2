# SPDX-License-Identifier: Apache-2.0
"""Makes small pictures of images from a host that is not trusted.

Formats, pixels and scans of an image are limited. The header is read first, so a picture with a
gigapixel in a kilobyte is refused before it is decoded.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from backlotfs.errors import InvalidRangeResponse, SettingsError, install_extra

if TYPE_CHECKING:
    from PIL import Image

#: Largest number of pixels of an image; a frame of 8K video has 33 million.
MAX_PIXELS = 40_000_000
#: Largest number of scans of a JPEG. Each scan is decoded over all pixels. A usual progressive JPEG
#: has 10 scans, but thousands fit into a megabyte.
MAX_SCANS = 64
_SCAN = b"\xff\xda"  # never in compressed data; metadata with these bytes is counted too
#: The formats of preview images. Pillow's decoders of other formats are not used.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP")


class Picture:
    """A decoded picture, rotated as its EXIF data requires; of an animation, the first frame."""

    def __init__(self, encoded: bytes, *, most_pixels: int = MAX_PIXELS) -> None:
        """Decode an image.

        :param most_pixels: an image with more pixels is refused.
        :raises InvalidRangeResponse: it is not a picture, is damaged, or has too many pixels or
            scans.
        :raises SettingsError: Pillow is not installed.
        """
        check_installed()
        from PIL import Image, ImageOps

        with _one_error():
            opened = Image.open(io.BytesIO(encoded), formats=_FORMATS)
        if opened.format == "JPEG" and encoded.count(_SCAN) > MAX_SCANS:
            raise InvalidRangeResponse(f"a preview image of more than {MAX_SCANS} scans is refused")
        width, height = opened.size
        if not 0 < width * height <= most_pixels:
            raise InvalidRangeResponse(f"a preview image of {width} by {height} pixels is refused")
        with _one_error():
            whole = ImageOps.exif_transpose(opened)
            self._image = whole.convert("RGBA" if _is_transparent(whole) else "RGB")

    def png(self, edge: int, texts: Mapping[str, str]) -> bytes:
        """Make a PNG that fits into a square of ``edge`` pixels; a small picture is not enlarged.

        :param texts: keywords and values to write into the PNG.
        """
        from PIL import Image, PngImagePlugin

        small = self._image.copy()
        small.thumbnail((edge, edge), Image.Resampling.LANCZOS)
        notes = PngImagePlugin.PngInfo()
        for keyword, value in texts.items():
            notes.add_text(keyword, value)
        written = io.BytesIO()
        small.save(written, "PNG", pnginfo=notes)
        return written.getvalue()


def png_texts(png: bytes) -> dict[str, str]:
    """The keywords and texts of a PNG, read without its pixels; empty for other formats."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as opened:
            return {
                key: value
                for key, value in opened.info.items()
                if isinstance(key, str) and isinstance(value, str)
            }
    except Exception:  # noqa: BLE001  # a damaged file has no texts
        return {}


def check_installed(what: str = "this command") -> None:
    """Check that Pillow, which ``what`` needs, is installed. :raises SettingsError: it is not."""
    try:
        import PIL  # noqa: F401  # whether it is there is all that matters
    except ModuleNotFoundError:
        how = install_extra("thumbnails")
        raise SettingsError(f"{what} needs an extra; install it: {how}") from None


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Replace every error of a decoder by one: a hostile image can cause any of them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes; the limits here are stricter
            yield
    except Exception as error:  # noqa: BLE001  # a hostile image can cause any error
        raise InvalidRangeResponse(
            f"the preview image cannot be decoded ({type(error).__name__})"
        ) from None


def _is_transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info
