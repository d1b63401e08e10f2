# SPDX-License-Identifier: Apache-2.0
"""Preview images of assets, at unsigned URLs on the source host.

The image of an asset is its ``preview_image``, or a frame of its file (if ffmpeg is installed), or
one colour computed from its embed code.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

from cachetools import LRUCache

from backlotfs.emulator.assets import EmulatedAsset, FileContent
from backlotfs.emulator.http_types import Answer, ReceivedRequest
from backlotfs.emulator.library import Library
from backlotfs.emulator.sources import RangeNotSatisfiable, requested_span, source_error

_FFMPEG_S = 20.0
_KEPT_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 500  # memory of a cache entry, without the frame
#: Formats that cannot refer to other files (as playlists, concat and DASH can).
_ONLY_THIS_FILE = (
    *("-protocol_whitelist", "file"),
    "-format_whitelist",
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,mxf,asf,flv,ogg,gxf,dv,h264,hevc,m4v,rm,wtv,nut,ivf",
)
_WIDTH, _HEIGHT = 320, 180


class PreviewImages:
    """Answers requests for preview images. For one thread; a new file may take seconds."""

    def __init__(self, library: Library) -> None:
        """Serve the images of ``library``."""
        self._library = library
        self._frames: LRUCache[tuple[Path, str], bytes] = LRUCache(  # empty bytes: no frame
            _KEPT_BYTES, getsizeof=lambda frame: len(frame) + _ENTRY_BYTES
        )
        self._running: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Kill a running ffmpeg. Any thread may call it."""
        self._stopped = True
        running = self._running
        if running is not None:
            running.kill()

    def answer(self, request: ReceivedRequest, embed_code: str) -> Answer:
        """The answer to one request."""
        if request.method != "GET":
            return source_error("MethodNotAllowed")
        try:
            image = self._image(self._library.get(embed_code))
            span = requested_span(request.headers.get("Range"), len(image))
        except KeyError:
            return source_error("NoSuchKey", Key=request.path.lstrip("/"))
        except RangeNotSatisfiable:
            return source_error("InvalidRange")
        kind = "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
        headers = {"Content-Type": kind, "Accept-Ranges": "bytes"}
        if span is None:
            return Answer(200, image, headers)
        headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{len(image)}"
        return Answer(206, image[span[0] : span[1]], headers)

    def _image(self, asset: EmulatedAsset) -> bytes:
        if asset.preview_image is not None:
            return asset.preview_image
        frame = self._frame(asset.content) if isinstance(asset.content, FileContent) else b""
        return frame or _plain(asset.embed_code)

    def _frame(self, content: FileContent) -> bytes:
        """The first frame of a file, empty if there is none. Frames are cached by version."""
        try:
            with content.open() as opened:
                key = content.path, opened.etag
                frame = self._frames.get(key)
                if frame is None:
                    frame = self._frames[key] = self._first_frame(opened.file.fileno())
                return frame
        except OSError:
            return b""

    def _first_frame(self, descriptor: int) -> bytes:
        ffmpeg = shutil.which("ffmpeg")
        if ffmpeg is None:
            return b""
        # ffmpeg gets the descriptor, because the path may be replaced by a link
        command = [
            *(ffmpeg, "-nostdin", "-v", "error", *_ONLY_THIS_FILE),
            *("-i", f"file:/proc/self/fd/{descriptor}", "-frames:v", "1"),
            *("-vf", "scale=640:-2", "-f", "image2pipe", "-c:v", "mjpeg", "-"),
        ]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[descriptor],
        ) as running:
            self._running = running
            if self._stopped:
                running.kill()
            try:
                frame, _ = running.communicate(timeout=_FFMPEG_S)
            except subprocess.TimeoutExpired:
                running.kill()
                return b""
            finally:
                self._running = None
        return frame if running.returncode == 0 else b""


def _plain(embed_code: str) -> bytes:
    """A PNG of one colour."""
    colour = hashlib.sha256(embed_code.encode("utf-8", "surrogateescape")).digest()[:3]
    rows = (b"\0" + colour * _WIDTH) * _HEIGHT

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )
