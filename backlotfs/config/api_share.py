# SPDX-License-Identifier: Apache-2.0
"""``--api-share``: the part of an account's API credits that a process may use: ``1/100``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from backlotfs.errors import SettingsError

_PART = re.compile(r"([0-9]{1,6})/([0-9]{1,6})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
WHOLE = Fraction(1)
#: A smaller share is a mistake: of 300 calls a minute it is less than one call a day.
_LEAST = Fraction(1, 500_000)


def parse_share(text: str) -> Fraction | None:
    """The share in a text such as ``1/100`` or ``2.5%``; None: the text is not a share."""
    found = _PART.fullmatch(text.strip())
    if found is None:
        return None
    over, under, percent = found.groups()
    if percent is not None:
        share = Fraction(percent) / 100
    elif int(under) == 0:
        return None
    else:
        share = Fraction(int(over), int(under))
    return share if _LEAST <= share <= 1 else None


def share_of(text: str, named: Mapping[str, Fraction]) -> Fraction:
    """The share for a text: a share such as ``1/100``, or a name from the profile.

    :raises SettingsError: the text is neither.
    """
    share = named.get(text.strip()) or parse_share(text)
    if share is not None:
        return share
    names = f", or a name of the profile: {', '.join(named)}" if named else ""
    raise SettingsError(f"{text!r} is no share of the API's calls; write it like 1/100{names}")


def parse_named_shares(value: object) -> dict[str, Fraction]:
    """The shares of a profile's ``api_shares = { NAME = "1/100" }``.

    :raises SettingsError: the value is not such a table.
    """
    named: dict[str, Fraction] = {}
    for name, text in value.items() if isinstance(value, dict) else [("", None)]:
        share = parse_share(text) if isinstance(text, str) else None
        if share is None or not re.fullmatch(r"[A-Za-z0-9_-]+", name) or parse_share(name):
            raise SettingsError(
                'setting api_shares must be a table of shares: api_shares = { farm = "1/100" }'
            )
        named[name] = share
    return named
