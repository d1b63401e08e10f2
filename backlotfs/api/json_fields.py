"""Typed access to JSON of unknown honesty, in both dialects: ``"true"``/``"12"`` and natives.

Pure. Whatever the value, nothing but :class:`ProtocolViolation` is raised, and its message names
the field. Texts come back without lone surrogates, which neither SQLite nor a terminal takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from backlotfs.api.bounded_json import MAX_RECORD_CHARS, TooLarge
from backlotfs.errors import ProtocolViolation

# beyond 2 ** 53 a JSON number is not exact in half the world's parsers, and no object is 9 PB
MAX_INTEGER = 2**53
#: A text beyond it is cut: titles and descriptions are shorter, and so are paths of any system.
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

    :raises ProtocolViolation: when it is none.
    """
    if isinstance(value, dict):
        return value
    raise ProtocolViolation(f"{what}: expected an object, got {_kind(value)}")


def as_array(value: object, what: str) -> list[object]:
    """``value`` as a JSON array.

    :raises ProtocolViolation: when it is none.
    """
    if isinstance(value, list):
        return value
    raise ProtocolViolation(f"{what}: expected an array, got {_kind(value)}")


def text(record: Mapping[str, object], field: str) -> str | None:
    """A text (or a number, as text); None when null or absent.

    :raises ProtocolViolation: for any other type.
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
    """A text that nothing depends on: None also when null, absent or of another type."""
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
    """A number that nothing depends on: 0 when it is not a number from 0 to 2 ** 53."""
    number = _integer_or_none(record.get(field))
    return number if number is not None and 0 <= number <= MAX_INTEGER else 0


def flag(record: Mapping[str, object], field: str) -> bool:
    """Whether the field says yes: ``true``, ``"true"``, ``1`` or ``"1"``."""
    value = record.get(field)
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1")
    return isinstance(value, bool | int) and value == 1


def epoch_s(record: Mapping[str, object], field: str) -> int:
    """An ISO 8601 time (UTC unless it says otherwise) in seconds since 1970; 0 if it is none."""
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
