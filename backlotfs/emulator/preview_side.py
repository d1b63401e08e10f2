"""Preview images: what the service made of each video, unsigned, beside the sources.

An asset says itself what its image is, or it is a frame of its file (where ffmpeg is installed),
or a plain colour that is its own.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import threading
import zlib
from pathlib import Path

from backlotfs.emulator.content import FileContent
from backlotfs.emulator.exchange import Answer, ReceivedRequest
from backlotfs.emulator.library import Library
from backlotfs.emulator.range_header import RangeNotSatisfiable, requested_span
from backlotfs.emulator.records import EmulatedAsset
from backlotfs.emulator.source_errors import source_error

_FFMPEG_S = 20.0
_WIDTH, _HEIGHT = 320, 180


class PreviewSide:
    """Answers requests for preview images. Thread-safe; may take seconds for a new file."""

    def __init__(self, library: Library) -> None:
        """Serve the images of ``library``."""
        self._library = library
        self._lock = threading.Lock()
        self._frames: dict[tuple[Path, str], bytes | None] = {}

    def answer(self, request: ReceivedRequest, embed_code: str) -> Answer:
        """The answer to one request."""
        if request.method != "GET":
            return source_error("MethodNotAllowed")
        try:
            image = self._image(self._library.get(embed_code))
        except KeyError:
            return source_error("NoSuchKey", Key=request.path.lstrip("/"))
        kind = "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
        headers = {"Content-Type": kind, "Accept-Ranges": "bytes"}
        try:
            span = requested_span(request.headers.get("Range"), len(image))
        except RangeNotSatisfiable:
            return source_error("InvalidRange")
        if span is None:
            return Answer(200, image, headers)
        headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{len(image)}"
        return Answer(206, image[span[0] : span[1]], headers)

    def _image(self, asset: EmulatedAsset) -> bytes:
        if asset.preview_image is not None:
            return asset.preview_image
        if isinstance(asset.content, FileContent):
            frame = self._frame(asset.content)
            if frame:
                return frame
        return _plain(asset.embed_code)

    def _frame(self, content: FileContent) -> bytes | None:
        """The first frame, made once for each version of a file; None where none can be had."""
        try:
            key = content.path, content.etag
        except OSError:
            return None
        with self._lock:
            if key not in self._frames:
                self._frames[key] = _first_frame(content.path)
            return self._frames[key]


def _first_frame(path: Path) -> bytes | None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return None
    command = [
        *(ffmpeg, "-nostdin", "-v", "error", "-i", f"file:{path}", "-frames:v", "1"),
        *("-vf", "scale=640:-2", "-f", "image2pipe", "-c:v", "mjpeg", "-"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_FFMPEG_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout else None


def _plain(embed_code: str) -> bytes:
    """A PNG of one colour."""
    colour = hashlib.sha256(embed_code.encode("utf-8", "surrogateescape")).digest()[:3]
    rows = (b"\0" + colour * _WIDTH) * _HEIGHT

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
