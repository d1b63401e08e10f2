# SPDX-License-Identifier: Apache-2.0
"""Finds the index of a media file from its name or its first bytes. Pure.

A program that opens a recording reads its head and then its index, which cameras and recorders
write last. To read the index takes one more round trip, or several if it is read in small parts.
The index that is found here is fetched early. Nothing else depends on this guess: if it is wrong,
even because of a malicious file, it only costs a needless request.
"""

from __future__ import annotations

import struct

from backlotfs.byterange import ByteRange

#: The part of the head that is parsed; the fields that matter are near the beginning.
HEAD_BYTES = 4096
#: No index is looked for in smaller files.
MIN_FILE_BYTES = 64 * 1024 * 1024
#: Bytes fetched early of an index whose start is known; the rest is fetched as it is read.
INDEX_BYTES = 512 * 1024
#: Bytes fetched early at the end of a file that probably has an index there.
TAIL_BYTES = 256 * 1024

_INDEX_LAST = (".mp4", ".mov", ".m4v", ".m4a", ".3gp", ".qt", ".mkv", ".webm", ".mxf", ".avi")
_NO_MEDIA = frozenset({b"ftyp", b"free", b"skip", b"wide", b"uuid", b"pnot", b"udta"})
_MXF_PARTITION = bytes.fromhex("060e2b34020501010d010201")
_SEGMENT, _SEEK_HEAD, _SEEK = 0x18538067, 0x114D9B74, 0x4DBB
_SEEK_ID, _SEEK_POSITION, _CUES, _EBML = 0x53AB, 0x53AC, 0x1C53BB6B, 0x1A45DFA3


def likely_index(name: str, size: int) -> ByteRange | None:
    """The end of a file, if its name suggests that programs read the end first; otherwise None."""
    if size < MIN_FILE_BYTES or not name.lower().endswith(_INDEX_LAST):
        return None
    return ByteRange(size - TAIL_BYTES, size)


def next_index_range(head: bytes, size: int) -> ByteRange | None:
    """The first part of the index of a file; None if it is not found, or is in the head.

    :param head: the first `HEAD_BYTES` of the file, or fewer. :param size: bytes of the file.
    """
    if size < MIN_FILE_BYTES:
        return None
    try:
        start = _index_start(head)
    except (struct.error, IndexError, OverflowError):  # the fields are beyond the head
        return None
    if start is None or not HEAD_BYTES < start < size:
        return None
    return ByteRange(start, start + INDEX_BYTES).clamped(size)


def _index_start(head: bytes) -> int | None:
    if head[4:8] in _NO_MEDIA or head[4:8] == b"mdat":
        return _behind_media_boxes(head)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _behind_movie_list(head)
    if head.startswith(_MXF_PARTITION):
        return _footer_partition(head)
    if head.startswith(_EBML.to_bytes(4)):
        return _cues(head)
    return None


def _behind_media_boxes(head: bytes) -> int | None:
    """MP4 and QuickTime: the end of ``mdat``, unless ``moov`` comes before it."""
    at = 0
    length: int
    while True:
        length, kind = struct.unpack_from(">I4s", head, at)
        if length == 1:
            (length,) = struct.unpack_from(">Q", head, at + 8)
        if kind == b"mdat":
            return at + length if length >= 8 else None  # 0: up to the end of the file
        if kind not in _NO_MEDIA or length < 8:
            return None
        at += length


def _behind_movie_list(head: bytes) -> int | None:
    """AVI: the end of the list ``movi``, where ``idx1`` begins."""
    at = 12
    while True:
        kind, length = struct.unpack_from("<4sI", head, at)
        end: int = at + 8 + length + length % 2
        if kind == b"LIST" and head[at + 8 : at + 12] == b"movi":
            return end
        at = end


def _footer_partition(head: bytes) -> int | None:
    """MXF: the footer partition that the header partition pack names; 0 in an unfinished file."""
    length = head[16]
    value = 17 + (length & 0x7F if length & 0x80 else 0)
    (footer,) = struct.unpack_from(">Q", head, value + 24)
    return int(footer) or None


def _cues(head: bytes) -> int | None:
    """Matroska: the position of the cues, from the seek head of the segment."""
    at = _element(head, 0)[2]  # behind the EBML header
    kind, segment, _ = _element(head, at)
    if kind != _SEGMENT:
        return None
    at = segment
    while True:
        kind, value, at = _element(head, at)
        if kind == _SEEK_HEAD:
            break
    seeks_end, at = at, value
    while at < seeks_end:
        kind, value, at = _element(head, at)
        if kind == _SEEK:
            found = _seek_entry(head, value, at)
            if found.get(_SEEK_ID) == _CUES and _SEEK_POSITION in found:
                return segment + found[_SEEK_POSITION]
    return None


def _seek_entry(head: bytes, at: int, end: int) -> dict[int, int]:
    found: dict[int, int] = {}
    while at < end:
        kind, value, at = _element(head, at)
        found[kind] = int.from_bytes(head[value:at])
    return found


def _element(head: bytes, at: int) -> tuple[int, int, int]:
    """An EBML element: its id, where its value begins, and where it ends."""
    id_bytes = 9 - head[at].bit_length()
    size_at = at + id_bytes
    size_bytes = 9 - head[size_at].bit_length()
    value = size_at + size_bytes
    length = int.from_bytes(head[size_at:value]) & ((1 << 7 * size_bytes) - 1)
    return int.from_bytes(head[at:size_at]), value, value + length
