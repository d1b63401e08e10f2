"""JSON of unknown honesty, read in bounded memory.

A few kilobytes of gzip can be ten million numbers, and each of them an object in memory: what a
body costs is not its length. So a page is read record by record: the text is decoded piece by
piece, one record at a time becomes objects, and whoever takes it keeps what it needs. A record
above :data:`MAX_RECORD_CHARS` is passed over without becoming objects at all. The objects of one
record take at most about 30 times its text (an empty array is 2 characters and 56 bytes).

Pure. Bytes that are not UTF-8 become U+FFFD; a byte order mark is ignored.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import NoReturn

from backlotfs.errors import ProtocolViolation

#: The largest record of a page, and the largest answer about one asset; a usual one has 1 000.
MAX_RECORD_CHARS = 1024 * 1024
#: The most records on a page; 500 are asked for, and a server may ignore that.
MAX_RECORDS = 100_000
#: Fields of a page beside its records; there are one or two.
_MAX_FIELDS = 1000
#: Brackets and quotes passed over in records that are too large, before the page is given up.
_MAX_PASSED_OVER = 2_000_000
_CHUNK_BYTES = 128 * 1024
_BLANKS = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r'["\[\]{}]')
_IN_STRING = re.compile(r'["\\]')
_MOST_DIGITS = 20


class MalformedJson(ValueError):
    """Not JSON, or not whole; the message says so in words that fit after "answered with"."""


class TooLarge:
    """Stands for a value that was passed over."""


TOO_LARGE = TooLarge()


def _integer(digits: str) -> int | float:
    # int() fails beyond 4300 digits, and takes long before; no field of ours is that large
    return int(digits) if len(digits) <= _MOST_DIGITS else math.inf


_DECODER = json.JSONDecoder(parse_int=_integer)


def read_document(body: bytes) -> object:
    """A document that is one record, or an answer about one.

    :raises MalformedJson: empty, HTML, or not whole.
    :raises ProtocolViolation: too large, or nested beyond reason.
    """
    reader = _Reader(body)
    found = reader.value()
    if found is TOO_LARGE:
        raise ProtocolViolation(f"more than {MAX_RECORD_CHARS >> 20} MiB of JSON")
    reader.end()
    return found


def read_page(body: bytes, take: Callable[[object], None]) -> object:
    """A page: its fields ``items`` and ``next_page``; the others are read and dropped.

    Of an array ``items`` each element goes to ``take``, and the array itself comes back empty. An
    element that is too large is :data:`TOO_LARGE`.

    :raises MalformedJson: empty, HTML, or not whole.
    :raises ProtocolViolation: too many records, or nested beyond reason.
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
    """A place in the text of a body, of which only a piece is decoded at a time."""

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
        """:raises MalformedJson: there is something behind the document."""
        if self.peek():
            self._fail()

    def members(self) -> Iterator[str | None]:
        """Go through an object: its keys (None: too large); the caller reads the value of each."""
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
        """Take one of these. :raises MalformedJson: another comes."""
        found = self.peek()
        if not found or found not in characters:
            self._fail()
        self._pos += 1
        return found

    def elements(self, take: Callable[[object], None]) -> None:
        """Hand over each element of an array."""
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
            # a number may go on in the next piece
            if end == len(self._text) and end - self._pos > MAX_RECORD_CHARS:
                raise ProtocolViolation("a number without an end")
            if end == len(self._text) and self._more():
                continue
            too_large = end - self._pos > MAX_RECORD_CHARS
            self._pos = end
            return TOO_LARGE if too_large else found

    def _more(self) -> bool:
        """Decode the next piece, twice as long as what is left; False at the end of the body."""
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
        """Go behind a value without making objects of it."""
        passed = 0  # characters in front of the text that is kept

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
            self._fail()  # it was not too large, so something is wrong in it

    def _fail(self) -> NoReturn:
        first = self._first
        if not first:
            raise MalformedJson("an empty body instead of JSON")
        if first == "<":
            raise MalformedJson("HTML instead of JSON")
        if first in "{[":
            raise MalformedJson("malformed or cut-off JSON")
        raise MalformedJson("something that is not JSON")
