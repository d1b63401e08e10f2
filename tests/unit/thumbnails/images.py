# SPDX-License-Identifier: Apache-2.0
"""Pictures to decode."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def encoded(
    width: int = 640, height: int = 360, *, kind: str = "JPEG", mode: str = "RGB", **how: Any
) -> bytes:
    """A picture of one colour."""
    written = io.BytesIO()
    Image.new(mode, (width, height)).save(written, kind, **how)
    return written.getvalue()


def opened(png: bytes) -> Image.Image:
    """Decoded."""
    image = Image.open(io.BytesIO(png))
    image.load()
    return image
