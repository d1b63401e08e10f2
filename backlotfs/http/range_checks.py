# SPDX-License-Identifier: Apache-2.0
"""What an answer to a ranged GET holds: which bytes of the object, of how many, and in no coding.

RFC 9110 lets a server answer ``Range: bytes=a-b`` in many forms, and real servers know more. The
form is no proof. These are: the place of the bytes (``Content-Range``, or all of the object), their
length (``Content-Length``, which must not disagree), and that nothing on the way has coded them.
The fourth, the version, is the caller's (`source.version`). What is not proven is refused: no byte
of the body may be used then.

=============================  =============================================================
``Content-Range``              the unit in any case, left out, or with ``:`` or ``=``; blanks,
                               leading zeros; ``*`` for a size that the host does not know;
                               ``0-0/0`` and ``*/0`` of an empty object
200 without Content-Range      the whole object
200 with Content-Range         as a 206, if ``Content-Length`` agrees
206 without Content-Range,     refused: the place is not certain
``multipart/byteranges``
=============================  =============================================================

All of it is pure.
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
    """What an answer says that it holds.

    :ivar place: of its bytes in the object; empty if the object is.
    :ivar total: the size of the whole object; None: the answer does not say it.
    :ivar doubt: words of ``Content-Encoding`` that mean nothing, or that the bytes are coded: if
        the object's size is the expected one, they are not.
    """

    place: ByteRange
    total: int | None
    doubt: str = ""


def answered_range(status: int, headers: Mapping[str, str]) -> AnsweredRange:
    """What the answer to a GET of one range holds.

    :param headers: names in lower case.
    :raises InvalidRangeResponse: that is not certain.
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
    """``Content-Length``, also one that is repeated (``5, 5``); None: there is none.

    :raises InvalidRangeResponse: it is no number, or several different ones.
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
    """The one value of a header that may be repeated in one line; all of it if they differ."""
    values = {one.strip(" \t") for one in value.split(",")}
    return values.pop() if len(values) == 1 else value


#: The widest gap between the first byte of an answer and the first that is wanted.
MAX_SKIP_BYTES = 16 * 1024 * 1024


def bytes_before(place: ByteRange, wanted: ByteRange) -> int:
    """How many bytes of an answer come before the wanted ones.

    An answer that begins where it should may be shorter than asked for (RFC 9110 §15.3.7). One that
    begins earlier has to hold all that is wanted, as of a proxy that widens a range to its own
    blocks: a place that is merely shifted is a wrong label.

    :raises InvalidRangeResponse: the answer does not begin with, or cover, what is wanted.
    """
    begins = place.start == wanted.start and place.length > 0
    if not begins and not (place.start < wanted.start and wanted.stop <= place.stop):
        raise InvalidRangeResponse(
            f"asked for {wanted.header()}, answered with bytes {place.start}-{place.stop - 1}"
        )
    return wanted.start - place.start


#: Codings of RFC 9110 §8.4.1 and IANA's list, and what else compresses or encrypts.
_CODING_WORDS = """
    gzip deflate compress br brotli zstd zlib bzip bzip2 bz2 xz lzma lzip lz4 lzo snappy zip 7z
    pack200-gzip exi sdch dcb dcz aes128gcm aesgcm
"""
_CODINGS = frozenset(_CODING_WORDS.split())
#: Words that say "as it is", of HTTP and of mail (RFC 2045), and charsets.
_PLAIN = re.compile(
    r"""identity|none|no|off|raw|plain|binary|7bit|8bit
    |(?:charset=)?(?:(?:us-?)?ascii|utf-?[0-9a-z-]*|ucs-?[24]|unicode|iso[-_]?[0-9][0-9a-z_-]*
        |latin-?[0-9]+|(?:windows|cp|ibm|mac|koi8|euc|big5|gb)[-_]?(?:[0-9][0-9a-z_-]*|k|[ru]|jp|kr|cn|tw)?
        |shift[-_]?jis|sjis|tis-?620)
    |(?:audio|video|image|text|font|model|message|application|binary)/[0-9a-z!#$&^_.+-]+""",
    re.ASCII | re.VERBOSE,
)


def doubtful_encoding(headers: Mapping[str, str]) -> str:
    """The words of ``Content-Encoding`` that neither are codings nor say that there is none.

    A host replays the word that an upload came with: ``aws-chunked``, ``base64``, ``utf-8``. Its
    bytes are the stored ones all the same. Where a coding is named they are not, or nobody can tell
    whether they are: the host, or a proxy, may have compressed them on the way.

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
