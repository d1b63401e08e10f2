# SPDX-License-Identifier: Apache-2.0
"""Reads untrusted JSON in bounded memory, with typed access to its fields. Pure.

A few kilobytes of gzip can contain ten million numbers, and each number is an object in memory. So
the length of a body does not limit its memory. A page is read record by record: the text is decoded
piece by piece, one record at a time becomes objects, and the caller keeps what it needs. A record
above :data:`MAX_RECORD_CHARS` is skipped: at most twice as many of its characters become objects,
which are dropped at once. The objects of one record need at most about 30 times its text (an empty
array is 2 characters and 56 bytes). Bytes that are not UTF-8 become U+FFFD; a byte order mark is
ignored.

The functions after the reader read fields in both forms of the API: texts (``"true"``, ``"12"``)
and native values. For any value, they raise nothing but :class:`ProtocolViolation`, and its message
names the field. Their texts have no lone surrogates, which SQLite and terminals do not accept.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from backlotfs.errors import ProtocolViolation

#: Largest record of a page, and largest answer about one asset; a usual one has 1 000 characters.
MAX_RECORD_CHARS = 1024 * 1024
#: Most records on a page; 500 are requested, but a server may send more.
MAX_RECORDS = 100_000
#: Most fields of a page; a usual page has two or three.
_MAX_FIELDS = 1000
#: Most brackets, quotes and backslashes in skipped records of one page; with more the page fails.
_MAX_PASSED_OVER = 2_000_000
_CHUNK_BYTES = 128 * 1024
_BLANKS = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r'["\[\]{}]')
_IN_STRING = re.compile(r'["\\]')
_MOST_DIGITS = 20


class MalformedJson(ValueError):
    """Not JSON, or incomplete JSON; the message completes a sentence after "answered with"."""


class TooLarge:
    """Replaces a value that was skipped because it is too large."""


TOO_LARGE = TooLarge()


def _integer(digits: str) -> int | float:
    # int() is slow for thousands of digits and fails above 4300; no field needs so many
    return int(digits) if len(digits) <= _MOST_DIGITS else math.inf


_DECODER = json.JSONDecoder(parse_int=_integer)


def read_document(body: bytes) -> object:
    """Read a document that is one record, or an answer about one asset.

    :raises MalformedJson: the body is empty, HTML or incomplete.
    :raises ProtocolViolation: the document is too large or nested too deeply.
    """
    reader = _Reader(body)
    found = reader.value()
    if found is TOO_LARGE:
        raise ProtocolViolation(f"more than {MAX_RECORD_CHARS >> 20} MiB of JSON")
    reader.end()
    return found


def read_page(body: bytes, take: Callable[[object], None]) -> object:
    """Read a page; return its fields ``items`` and ``next_page``, and drop all others.

    ``take`` is called with each element of the array ``items``; the returned array is empty. For an
    element that is too large, ``take`` gets :data:`TOO_LARGE`. A body that is not an object is
    returned as it is.

    :raises MalformedJson: the body is empty, HTML or incomplete.
    :raises ProtocolViolation: the page has too many records or fields, or is nested too deeply.
    """
    reader = _Reader(body)
    if reader.peek() != "{":
        found = reader.value()
        reader.end()
        return found
    fields: dict[str, object] = {}
    for count, key in enumerate(reader.members()):
        if count >= _MAX_FIELDS:
            raise ProtocolViolation(f"more than {_MAX_FIELDS} fields on a page")
        if key == "items" and reader.peek() == "[":
            if "items" in fields:
                raise ProtocolViolation("items twice on a page")
            reader.elements(take)
            fields["items"] = []
            continue
        value = reader.value()
        if key in ("items", "next_page"):
            fields[key] = value
    reader.end()
    return fields


class _Reader:
    """A position in the text of a body; only one piece of the body is decoded at a time."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self._next_byte = 0
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._text = ""
        self._pos = 0
        self._passed_over = 0
        self._first = ""

    def peek(self) -> str:
        """The next character that is not blank; ``""`` at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._pos)
            assert blanks is not None
            self._pos = blanks.end()
            if self._pos < len(self._text):
                found = self._text[self._pos]
                self._first = self._first or found
                return found
            if not self._more():
                return ""

    def end(self) -> None:
        """Check for the end. :raises MalformedJson: more text follows the document."""
        if self.peek():
            self._fail()

    def members(self) -> Iterator[str | None]:
        """Yield the keys of an object (None: too large); the caller reads the value of each key."""
        self.expect("{")
        if self.peek() == "}":
            self._pos += 1
            return
        while True:
            if self.peek() != '"':
                self._fail()
            key = self.value()
            self.expect(":")
            yield key if isinstance(key, str) else None
            if self.expect(",}") == "}":
                return

    def expect(self, characters: str) -> str:
        """Read one of these characters. :raises MalformedJson: another character follows."""
        found = self.peek()
        if not found or found not in characters:
            self._fail()
        self._pos += 1
        return found

    def elements(self, take: Callable[[object], None]) -> None:
        """Call ``take`` with each element of an array."""
        self.expect("[")
        if self.peek() == "]":
            self._pos += 1
            return
        count = 0
        while True:
            count += 1
            if count > MAX_RECORDS:
                raise ProtocolViolation(f"more than {MAX_RECORDS} records")
            take(self.value())
            if self.expect(",]") == "]":
                return

    def value(self) -> object:
        """The next value, or :data:`TOO_LARGE`."""
        if not self.peek():
            self._fail()
        while True:
            try:
                found, end = _DECODER.raw_decode(self._text, self._pos)
            except RecursionError:
                raise ProtocolViolation("JSON nested too deeply") from None
            except ValueError:
                if len(self._text) - self._pos > MAX_RECORD_CHARS:
                    self._pass_over()
                    return TOO_LARGE
                if not self._more():
                    self._fail()
                continue
            # a number may continue in the next piece
            if end == len(self._text) and end - self._pos > MAX_RECORD_CHARS:
                raise ProtocolViolation("a number without an end")
            if end == len(self._text) and self._more():
                continue
            too_large = end - self._pos > MAX_RECORD_CHARS
            self._pos = end
            return TOO_LARGE if too_large else found

    def _more(self) -> bool:
        """Decode the next piece, as long as the text that is left; False at the end of the body."""
        if self._next_byte >= len(self._body):
            return False
        kept = self._text[self._pos :]
        size = min(max(_CHUNK_BYTES, len(kept)), MAX_RECORD_CHARS)
        piece = self._body[self._next_byte : self._next_byte + size]
        self._next_byte += len(piece)
        last = self._next_byte >= len(self._body)
        self._text = kept + self._decoder.decode(bytes(piece), last)
        self._pos = 0
        return True

    def _pass_over(self) -> None:
        """Skip a value without making objects."""
        passed = 0  # skipped characters that are no longer in the decoded text

        def more() -> None:
            nonlocal passed
            passed += self._pos
            if not self._more():
                self._fail()

        started = self._pos
        depth, in_string = 0, False
        while True:
            found = (_IN_STRING if in_string else _TOKEN).search(self._text, self._pos)
            if found is None:
                self._pos = len(self._text)
                more()
                continue
            self._passed_over += 1
            if self._passed_over > _MAX_PASSED_OVER:
                raise ProtocolViolation("records far larger than any real one")
            if found[0] == "\\":
                self._pos = found.start()
                while self._pos + 2 > len(self._text):
                    more()
                self._pos += 2
                continue
            self._pos = found.end()
            if found[0] == '"':
                in_string = not in_string
            else:
                depth += 1 if found[0] in "[{" else -1
            if depth <= 0 and not in_string:
                break
        if passed + self._pos - started <= MAX_RECORD_CHARS:
            self._fail()  # the value is not too large, so it is malformed

    def _fail(self) -> NoReturn:
        first = self._first
        if not first:
            raise MalformedJson("an empty body instead of JSON")
        if first == "<":
            raise MalformedJson("HTML instead of JSON")
        if first in "{[":
            raise MalformedJson("malformed or cut-off JSON")
        raise MalformedJson("something that is not JSON")


# many JSON parsers are not exact above 2 ** 53, and no object has 9 PB
MAX_INTEGER = 2**53
#: A longer text is cut; titles, descriptions and paths of all systems are shorter.
MAX_TEXT_CHARS = 32_768
_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,19})(?:\.0*)?\s*", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND_S = 253_402_300_799  # end of the year 9999, where datetime ends too
_WORDS = {
    dict: "an object",
    list: "an array",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
    TooLarge: f"one of more than {MAX_RECORD_CHARS >> 20} MiB",
}


def as_object(value: object, what: str) -> Mapping[str, object]:
    """``value`` as a JSON object.

    :raises ProtocolViolation: the value is not an object.
    """
    if isinstance(value, dict):
        return value
    raise ProtocolViolation(f"{what}: expected an object, got {_kind(value)}")


def as_array(value: object, what: str) -> list[object]:
    """``value`` as a JSON array.

    :raises ProtocolViolation: the value is not an array.
    """
    if isinstance(value, list):
        return value
    raise ProtocolViolation(f"{what}: expected an array, got {_kind(value)}")


def text(record: Mapping[str, object], field: str) -> str | None:
    """A text, or a number below 2 ** 53 as text; None when null or absent.

    :raises ProtocolViolation: for any other value.
    """
    value = record.get(field)
    if value is None:
        return None
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_INTEGER:
        return str(value)
    raise ProtocolViolation(f"{field}: expected text, got {_kind(value)}")


def optional_text(record: Mapping[str, object], field: str) -> str | None:
    """A text that is not essential: None if it is null, absent or of another type."""
    value = record.get(field)
    return shortened(value) if isinstance(value, str) else None


def integer(record: Mapping[str, object], field: str) -> int | None:
    """A number from 0 to 2 ** 53, or its digits as text; None when null, absent or ``""``.

    :raises ProtocolViolation: for anything else, negative numbers included.
    """
    value = record.get(field)
    if value is None or value == "":
        return None
    number = _integer_or_none(value)
    if number is None or not 0 <= number <= MAX_INTEGER:
        wanted = "a whole number from 0 to 2^53"
        raise ProtocolViolation(f"{field}: expected {wanted}, got {_kind(value, number)}")
    return number


def optional_integer(record: Mapping[str, object], field: str) -> int:
    """A number that is not essential: 0 if it is not a whole number from 0 to 2 ** 53."""
    number = _integer_or_none(record.get(field))
    return number if number is not None and 0 <= number <= MAX_INTEGER else 0


def flag(record: Mapping[str, object], field: str) -> bool:
    """Whether the field is ``true``, ``"true"``, ``1`` or ``"1"``."""
    value = record.get(field)
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1")
    return isinstance(value, bool | int) and value == 1


def epoch_s(record: Mapping[str, object], field: str) -> int:
    """A time in seconds since 1970; 0 if it is not a time.

    The field has an ISO 8601 time (in UTC if it has no offset), or seconds since 1970.
    """
    value = record.get(field)
    seconds = _integer_or_none(value)
    if seconds is None and isinstance(value, str):
        seconds = _parsed_time_s(value)
    return seconds if seconds is not None and 0 <= seconds <= _LAST_SECOND_S else 0


def shortened(value: str) -> str:
    """`well_formed`, and cut after :data:`MAX_TEXT_CHARS`."""
    return well_formed(value[:MAX_TEXT_CHARS])


def well_formed(value: str) -> str:
    """``value`` with U+FFFD for every lone surrogate."""
    if value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _parsed_time_s(value: str) -> int | None:
    try:
        moment = datetime.fromisoformat(value.strip())
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None


def _integer_or_none(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    match = _INTEGER.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) if match else None


def _kind(value: object, number: int | None = None) -> str:
    if number is not None:
        return "a negative number" if number < 0 else "a larger number"
    return _WORDS.get(type(value), "something else")
