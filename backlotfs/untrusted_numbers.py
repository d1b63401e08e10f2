# SPDX-License-Identifier: Apache-2.0
"""Reads numbers from untrusted text.

``int()`` raises ValueError beyond 4300 digits, takes time that grows with the square of their
number below that, and accepts signs, underscores, white space and digits of any script. What comes
from the network (headers, URLs, XML, JSON) goes through these functions instead. Pure.
"""

from __future__ import annotations

import math
import re

#: What no number of an answer is beyond.
LARGEST = 2**63 - 1
#: Digits of the longest whole number that is read: those of 2 ** 63.
MOST_DIGITS = 19
_WHOLE = re.compile(rf"0*([0-9]{{1,{MOST_DIGITS}}})", re.ASCII)
_DECIMAL = re.compile(rf"0*([0-9]{{1,{MOST_DIGITS}}}(?:\.[0-9]{{1,{MOST_DIGITS}}})?)", re.ASCII)
#: Leading zeros are allowed, but not a megabyte of them.
_MOST_CHARACTERS = 64


def whole_number(text: str | None, *, most: int = LARGEST) -> int | None:
    """The value of ASCII digits, at most ``most``; None for anything else.

    White space around them is ignored, a sign is not.
    """
    match = _match(_WHOLE, text)
    number = int(match[1]) if match else None
    return number if number is not None and number <= most else None


def decimal_number(text: str | None, *, most: float = math.inf) -> float | None:
    """The value of ASCII digits with or without a fraction, at most ``most``; None for the rest.

    Never negative, infinite or "not a number".
    """
    match = _match(_DECIMAL, text)
    number = float(match[1]) if match else None
    return number if number is not None and number <= most else None


def _match(pattern: re.Pattern[str], text: str | None) -> re.Match[str] | None:
    if text is None or len(text) > _MOST_CHARACTERS:
        return None
    return pattern.fullmatch(text.strip(" \t"))
