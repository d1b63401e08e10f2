"""The time limit for answers of the API and all limits that depend on it.

An outer limit is longer than the limits inside it for every ``--api-timeout``: otherwise a slow API
would be waited for in one place and given up in another. `TimeLimits.nested` lists the pairs.

When a program's wait for a `stat` or a read ends, the API call goes on: its answer is kept, and the
next attempt finds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backlotfs.untrusted_numbers import decimal_number

#: The default: a page of 500 assets at 40 ms each takes 20 s.
API_TIMEOUT_S = 25.0
#: The minimum: a request to the other side of the world takes parts of a second.
LEAST_API_TIMEOUT_S = 1.0

#: A TCP and TLS handshake takes three round trips: 4 s leaves room for one lost packet.
CONNECT_S = 4.0
#: An attempt to connect that takes longer gets company by one to the host's next address.
ATTEMPT_DELAY_S = 0.25
#: Time for everything else in an operation: connections, one byte of the source.
_BESIDE_S = 5.0
#: The defaults of ``--stat-timeout`` and ``--read-timeout``.
_STAT_S, _READ_S = 5.0, 30.0

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration_s(text: str) -> float | None:
    """Convert ``90s``, ``5m``, ``72h`` or ``30`` to seconds; None for other text."""
    match = _DURATION.fullmatch(text.strip())
    number = decimal_number(match[1]) if match else None
    if match is None or number is None:
        return None
    return number * _UNITS_S[(match[2] or "s").lower()]


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Time limits in seconds.

    :ivar answer_s: the longest silence of the API before and within an answer.
    """

    answer_s: float = API_TIMEOUT_S

    @property
    def connect_s(self) -> float:
        """Limit for one attempt to connect to the API."""
        return min(CONNECT_S, self.answer_s)

    @property
    def first_call_s(self) -> float:
        """Limit for the first API call of a command, including the connection."""
        return self.answer_s + _BESIDE_S

    @property
    def probe_s(self) -> float:
        """Limit for a probe of one source: an answer of the API and one byte of the source."""
        return max(_READ_S, self.answer_s + _BESIDE_S)

    @property
    def captions_s(self) -> float:
        """Limit for fetching the captions of one asset."""
        return 2 * self.probe_s

    @property
    def read_s(self) -> float:
        """Default of ``--read-timeout``: a read may need a new URL from the API."""
        return self.probe_s

    @property
    def stat_s(self) -> float:
        """Default of ``--stat-timeout``; a raised ``--api-timeout`` raises it as well."""
        return _STAT_S if self.answer_s <= API_TIMEOUT_S else self.probe_s

    def nested(self) -> tuple[tuple[str, float, str, float], ...]:
        """Each inner limit with its outer limit: the names and seconds of both."""
        return (
            ("connect", self.connect_s, "first call", self.first_call_s),
            ("answer", self.answer_s, "first call", self.first_call_s),
            ("answer", self.answer_s, "probe", self.probe_s),
            ("answer", self.answer_s, "read", self.read_s),
            ("answer", self.answer_s, "captions", self.captions_s),
        )
