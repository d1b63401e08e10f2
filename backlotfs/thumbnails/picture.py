# SPDX-License-Identifier: Apache-2.0
"""Makes small pictures of images from a host that is not trusted.

A decoder is given few formats, few bytes, few pixels and few scans: the header is looked at first,
so that a picture of a gigapixel in a kilobyte is refused before it is unpacked.
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

#: A frame of 8K video has 33 million.
MAX_PIXELS = 40_000_000
#: Scans of a JPEG, each of which is decoded over all pixels; a usual progressive one has 10, and
#: thousands fit into a megabyte.
MAX_SCANS = 64
_SCAN = b"\xff\xda"  # cannot mean anything else in the data of a JPEG
#: What preview images come as, and nothing else that a decoder knows.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP")


class Picture:
    """A decoded picture, upright; of an animation its first frame."""

    def __init__(self, encoded: bytes, *, most_pixels: int = MAX_PIXELS) -> None:
        """Decode an image.

        :param most_pixels: a larger image is refused.
        :raises InvalidRangeResponse: it is not a picture, is damaged, or has too many pixels.
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

        :param texts: keywords and values to write into it.
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
    """The keywords and texts of a PNG, read without decoding it; empty for other formats."""
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
    """Check that Pillow is installed. :raises SettingsError: it is not, and ``what`` needs it."""
    try:
        import PIL  # noqa: F401  # whether it is there is all that matters
    except ModuleNotFoundError:
        how = install_extra("thumbnails")
        raise SettingsError(f"{what} needs an extra; install it: {how}") from None


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Turn the many errors of decoders into one: images may be made to harm them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes: the limits here are stricter
            yield
    except Exception as error:  # noqa: BLE001  # see above
        raise InvalidRangeResponse(
            f"the preview image cannot be decoded ({type(error).__name__})"
        ) from None


def _is_transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info
