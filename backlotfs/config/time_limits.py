"""How long the API may take to answer, and the limits around that; all follow one setting.

A limit that stands around another one is longer than it, whatever ``--api-timeout`` says: a slow
API is waited for by everything, or by nothing. `TimeLimits.nested` lists which stands around which.

Where an application waits for a `stat` or a read, the end of its wait does not end the call: the
answer is kept, and the next attempt finds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backlotfs.untrusted_numbers import decimal_number

#: Where nothing else was asked for: 500 assets at 40 ms each take 20 s.
API_TIMEOUT_S = 25.0
#: Shorter ones are refused: a request to the other side of the world takes parts of a second.
LEAST_API_TIMEOUT_S = 1.0

#: A TCP and TLS handshake takes three round trips: 4 s leaves room for one lost packet.
CONNECT_S = 4.0
#: What an operation needs beside the API's answer: connections, a byte of the source.
_BESIDE_S = 5.0
#: The defaults of ``--stat-timeout`` and ``--read-timeout``.
_STAT_S, _READ_S = 5.0, 30.0

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration_s(text: str) -> float | None:
    """Seconds of ``90s``, ``5m``, ``72h`` or ``30``, as people write them; None for other text."""
    match = _DURATION.fullmatch(text.strip())
    number = decimal_number(match[1]) if match else None
    if match is None or number is None:
        return None
    return number * _UNITS_S[(match[2] or "s").lower()]


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Limits in seconds. Immutable.

    :ivar answer_s: the longest silence of the API before and within an answer.
    """

    answer_s: float = API_TIMEOUT_S

    @property
    def connect_s(self) -> float:
        """One attempt to connect to the API."""
        return min(CONNECT_S, self.answer_s)

    @property
    def greeting_s(self) -> float:
        """The first question of a command, from the connection to the answer."""
        return self.answer_s + _BESIDE_S

    @property
    def probe_s(self) -> float:
        """Finding out about one source: the API's answer, then a byte of the source."""
        return max(_READ_S, self.answer_s + _BESIDE_S)

    @property
    def captions_s(self) -> float:
        """Asking for the captions of one asset."""
        return 2 * self.probe_s

    @property
    def read_s(self) -> float:
        """Default of ``--read-timeout``: a read may need a new URL, which the API gives."""
        return self.probe_s

    @property
    def stat_s(self) -> float:
        """Default of ``--stat-timeout``; whoever raises ``--api-timeout`` wants to wait for it."""
        return _STAT_S if self.answer_s <= API_TIMEOUT_S else self.probe_s

    def nested(self) -> tuple[tuple[str, float, str, float], ...]:
        """Each inner limit with the limit that stands around it: names and seconds of both."""
        return (
            ("connect", self.connect_s, "greeting", self.greeting_s),
            ("answer", self.answer_s, "greeting", self.greeting_s),
            ("answer", self.answer_s, "probe", self.probe_s),
            ("answer", self.answer_s, "read", self.read_s),
            ("answer", self.answer_s, "captions", self.captions_s),
        )
