# SPDX-License-Identifier: Apache-2.0
"""Checks an answer to a ranged GET: which bytes of the object it has, of how many, not encoded.

RFC 9110 lets a server answer ``Range: bytes=a-b`` in many forms, and real servers use even more. So
the form proves nothing. Three facts have to be certain: the place of the bytes (``Content-Range``,
or the whole object), their length (``Content-Length`` must not disagree), and that they were not
encoded on the way. The caller checks the version (`source.version`). If one of these is not
certain, the answer is refused, and no byte of its body may be used.

=============================  =============================================================
``Content-Range``              accepted: the unit in any case, missing, or with ``:`` or ``=``;
                               blanks; leading zeros; ``*`` for a size that the host does not
                               know; ``0-0/0``, ``0--1/0`` and ``*/0`` of an empty object
200 without Content-Range      the whole object
200 with Content-Range         as a 206, if ``Content-Length`` agrees
206 without Content-Range,     refused: the place is not certain
``multipart/byteranges``
=============================  =============================================================

All functions here are pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.errors import InvalidRangeResponse

#: No object is larger: sizes are signed numbers of 64 bits everywhere.
MAX_OBJECT_BYTES = 2**63 - 1

_NUMBER = "([0-9]{1,40})"
_DIGITS = re.compile(_NUMBER, re.ASCII)
_CONTENT_RANGE = re.compile(
    r"(?:bytes(?:[ \t]*[:=][ \t]*|[ \t]+))?"
    rf"(?:{_NUMBER}[ \t]*-[ \t]*{_NUMBER}|(\*)|(0[ \t]*-[ \t]*-1))"
    rf"[ \t]*/[ \t]*(?:{_NUMBER}|\*)\Z",
    re.ASCII | re.IGNORECASE,
)


class AnsweredRange(NamedTuple):
    """The bytes that an answer has, as its headers say.

    :ivar place: of the bytes in the object; empty if the object is empty.
    :ivar total: the size of the whole object; None: the answer does not say it.
    :ivar doubt: unknown words of ``Content-Encoding``. The bytes may be encoded, unless the object
        has the expected size.
    """

    place: ByteRange
    total: int | None
    doubt: str = ""


def answered_range(status: int, headers: Mapping[str, str]) -> AnsweredRange:
    """The bytes that the answer to a GET of one range has.

    :param headers: names in lower case.
    :raises InvalidRangeResponse: they are not certain.
    """
    if status not in (200, 206):
        raise InvalidRangeResponse(f"asked for a range, answered with status {status}")
    if headers.get("content-type", "").lower().startswith("multipart/byteranges"):
        raise InvalidRangeResponse("asked for one range, answered in several parts")
    doubt = doubtful_encoding(headers) if "content-encoding" in headers else ""
    length, value = content_length(headers), headers.get("content-range")
    if status == 200 and value is None:
        stop = MAX_OBJECT_BYTES if length is None else length
        return AnsweredRange(ByteRange(0, stop), length, doubt)
    place, total = parse_content_range(value)
    if length is None and status == 200:
        raise InvalidRangeResponse("answered a range with status 200, without Content-Length")
    if length is not None and length != place.length:
        raise InvalidRangeResponse(
            f"Content-Range names {place.length} bytes, Content-Length {length}"
        )
    return AnsweredRange(place, total, doubt)


def parse_content_range(value: str | None) -> tuple[ByteRange, int | None]:
    """The place of the bytes of a 206, and the size of the whole object, None for ``*``.

    :raises InvalidRangeResponse: it is absent, malformed or contradicts itself.
    """
    unusable = InvalidRangeResponse(f"unusable Content-Range: {(value or 'none')[:80]!r}")
    match = _CONTENT_RANGE.match(value or "") or _CONTENT_RANGE.match(_only(value or ""))
    if match is None:
        raise unusable
    first, last, any_place, before_0, size = match.groups()
    total = None if size is None else int(size)
    if total == 0 and (any_place or before_0 or int(first) == int(last) == 0):
        return ByteRange(0, 0), 0
    if any_place or before_0:
        raise unusable
    place = ByteRange(int(first), int(last) + 1)
    largest = MAX_OBJECT_BYTES if total is None else total
    if not 0 < place.length <= place.stop <= largest <= MAX_OBJECT_BYTES:
        raise InvalidRangeResponse(f"contradictory Content-Range: {(value or '')[:80]!r}")
    return place, total


def unsatisfied_total(headers: Mapping[str, str]) -> int | None:
    """The size of the whole object by the ``bytes */size`` of a 416, or None."""
    match = _CONTENT_RANGE.match(_only(headers.get("content-range", "")))
    if match is None or match[3] is None or match[5] is None:
        return None
    return int(match[5])


def content_length(headers: Mapping[str, str]) -> int | None:
    """``Content-Length``, which may be repeated (``5, 5``); None: there is none.

    :raises InvalidRangeResponse: it is not a number, or has several different values.
    """
    value = headers.get("content-length", "")
    if "," in value:
        value = _only(value)
    if not value:
        return None
    if _DIGITS.fullmatch(value) and int(value) <= MAX_OBJECT_BYTES:
        return int(value)
    raise InvalidRangeResponse(f"unusable Content-Length: {value[:40]!r}")


def _only(value: str) -> str:
    """The value of a header that may be repeated in one line; the line if the values differ."""
    values = {one.strip(" \t") for one in value.split(",")}
    return values.pop() if len(values) == 1 else value


#: Most bytes of an answer before the first wanted byte.
MAX_SKIP_BYTES = 16 * 1024 * 1024


def bytes_before(place: ByteRange, wanted: ByteRange) -> int:
    """How many bytes of an answer come before the wanted ones.

    An answer that begins at the first wanted byte may be shorter than asked for (RFC 9110 §15.3.7).
    An answer that begins earlier has to have all wanted bytes, such as that of a proxy that widens
    a range to its own blocks. A range that is only shifted is refused: it can be a wrong label.

    :raises InvalidRangeResponse: the answer neither begins at the first wanted byte nor has all
        wanted bytes.
    """
    begins = place.start == wanted.start and place.length > 0
    if not begins and not (place.start < wanted.start and wanted.stop <= place.stop):
        raise InvalidRangeResponse(
            f"asked for {wanted.header()}, answered with bytes {place.start}-{place.stop - 1}"
        )
    return wanted.start - place.start


#: Codings of RFC 9110 §8.4.1 and IANA's list, and other names of compression or encryption.
_CODING_WORDS = """
    gzip deflate compress br brotli zstd zlib bzip bzip2 bz2 xz lzma lzip lz4 lzo snappy zip 7z
    pack200-gzip exi sdch dcb dcz aes128gcm aesgcm
"""
_CODINGS = frozenset(_CODING_WORDS.split())
#: Words that mean "not encoded", of HTTP and of mail (RFC 2045), charsets, and media types.
_PLAIN = re.compile(
    r"""identity|none|no|off|raw|plain|binary|7bit|8bit
    |(?:charset=)?(?:(?:us-?)?ascii|utf-?[0-9a-z-]*|ucs-?[24]|unicode|iso[-_]?[0-9][0-9a-z_-]*
        |latin-?[0-9]+|(?:windows|cp|ibm|mac|koi8|euc|big5|gb)[-_]?(?:[0-9][0-9a-z_-]*|k|[ru]|jp|kr|cn|tw)?
        |shift[-_]?jis|sjis|tis-?620)
    |(?:audio|video|image|text|font|model|message|application|binary)/[0-9a-z!#$&^_.+-]+""",
    re.ASCII | re.VERBOSE,
)


def doubtful_encoding(headers: Mapping[str, str]) -> str:
    """The words of ``Content-Encoding`` that are not codings and do not mean "not encoded".

    A host repeats the word that an upload came with: ``aws-chunked``, ``base64``, ``utf-8``. It
    sends the stored bytes nevertheless. If a coding is named, that is not certain: the host or a
    proxy may have compressed the bytes on the way.

    :raises InvalidRangeResponse: a coding is named.
    """
    value = headers.get("content-encoding", "").lower()
    words = [one.split(";")[0].strip(" \t\"'") for one in value.split(",")]
    for word in words:
        name = word.rpartition("/")[2]
        if name in _CODINGS or name.removeprefix("x-") in _CODINGS:
            raise InvalidRangeResponse(
                f"asked for stored bytes, answered with {word!r} encoding; switch compression off"
                " at the source host, or remove Content-Encoding from the object"
            )
    return ", ".join(word for word in words if word and not _PLAIN.fullmatch(word))[:40]
