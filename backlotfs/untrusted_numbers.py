# SPDX-License-Identifier: Apache-2.0
"""Reads numbers from untrusted text.

``int()`` raises ValueError for more than 4300 digits. For fewer digits, its time grows with the
square of their number. It also accepts signs, underscores, white space and digits of any script. So
numbers from the network (headers, URLs, XML, JSON) are read by these functions instead. Pure.
"""

from __future__ import annotations

import math
import re

#: Upper limit of the numbers in answers.
LARGEST = 2**63 - 1
#: Largest number of digits without leading zeros: `LARGEST` has as many.
MOST_DIGITS = 19
_WHOLE = re.compile(rf"0*([0-9]{{1,{MOST_DIGITS}}})", re.ASCII)
_DECIMAL = re.compile(rf"0*([0-9]{{1,{MOST_DIGITS}}}(?:\.[0-9]{{1,{MOST_DIGITS}}})?)", re.ASCII)
#: Longest text that is read. It limits the leading zeros, which are allowed.
_MOST_CHARACTERS = 64


def whole_number(text: str | None, *, most: int = LARGEST) -> int | None:
    """The value of ASCII digits, at most ``most``; None for anything else.

    Spaces and tabs around the digits are ignored. A sign is not allowed.
    """
    match = _match(_WHOLE, text)
    number = int(match[1]) if match else None
    return number if number is not None and number <= most else None


def decimal_number(text: str | None, *, most: float = math.inf) -> float | None:
    """The value of ASCII digits with or without a fraction, at most ``most``; else None.

    The value is never negative, infinite or NaN.
    """
    match = _match(_DECIMAL, text)
    number = float(match[1]) if match else None
    return number if number is not None and number <= most else None


def _match(pattern: re.Pattern[str], text: str | None) -> re.Match[str] | None:
    if text is None or len(text) > _MOST_CHARACTERS:
        return None
    return pattern.fullmatch(text.strip(" \t"))
