# SPDX-License-Identifier: Apache-2.0
"""All time limits of the network: for hosts, for the API, and for operations that use them.

An outer limit is longer than each limit inside it, for every ``--api-timeout``, ``--stat-timeout``
and ``--read-timeout``. Otherwise the outer operation would end while an inner one still has time,
or the first of several attempts would use the time of all. `TimeLimits.nested` lists the pairs.

When a program's wait for a `stat` or a read ends, the probe or fetch continues: its result is kept,
and the next attempt uses it. So such a wait may be shorter than the limit of the probe. If the user
sets a longer wait, the limit of the probe grows with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backlotfs.untrusted_numbers import decimal_number

#: The default of ``--api-timeout``: a page of 500 assets at 40 ms each takes 20 s.
API_TIMEOUT_S = 25.0
#: The minimum of ``--api-timeout``: a request to any place of the world takes less than a second.
LEAST_API_TIMEOUT_S = 1.0
#: The minimum of ``--read-timeout``.
LEAST_READ_TIMEOUT_S = 1.0
#: The maximum of ``--api-timeout``, ``--stat-timeout`` and ``--read-timeout``.
MOST_TIMEOUT_S = 86_400.0

# One host.
#: Limit for a connection: look-up of the name, all addresses, a proxy's answer and TLS together. A
#: TCP and TLS handshake takes three round trips, so 4 s are enough if one packet is lost.
CONNECT_S = 4.0
#: After this time without a connection, the host's next address is tried too.
ATTEMPT_DELAY_S = 0.25
#: Limit for the look-up of the API host. Its addresses decide which private sources are allowed.
API_LOOK_UP_S = 2.0
#: Time between two checks of all running exchanges; an exchange ends at most this much too late.
WATCHDOG_S = 0.1
#: Limit for the head of an answer after its first byte; a server sends the head in one piece.
HEAD_TIMEOUT_S = 3.0
#: Limit for the answer of an address that never answered, if the host has another address. A page
#: of one asset (the first API call) and a byte of a source take less than a second.
UNPROVEN_S = 3.0
#: Limit for a body of a few kilobytes: one byte of a source, or an error message.
SMALL_BODY_S = 3.0
#: A transfer from a source host counts as stalled after this time without a byte.
STALL_TIMEOUT_S = 10.0
#: The longest pause between two attempts at one request.
MAX_RETRY_DELAY_S = 8.0

# The API.
#: Limit for a whole exchange; at 64 KiB/s a page of 500 assets takes 16 s.
EXCHANGE_TIMEOUT_S = 60.0
#: Limit for the CDN host's answer, including the connection; then the API's own host is used.
CDN_PATIENCE_S = 3.0
#: The first API call of a command is not tried again after this time. This is no limit of a try.
UNREACHABLE_S = 3.5
#: Time for everything in an operation except the API's answer: connections, one byte of the source.
_BESIDE_S = 5.0

# Work and waits.
#: The defaults of ``--stat-timeout`` and ``--read-timeout``.
_STAT_S, _READ_S = 5.0, 30.0
#: Longest wait of one operation for an API credit: the default of ``--credit-wait``.
CREDIT_WAIT_S = 3600.0
#: A program that copies waits so long for a `stat` or an open, so that a copy survives an outage of
#: a few minutes.
COPY_S = 300.0
#: The first listing of a library, and each later one: 1 000 000 assets need 2000 calls.
_FIRST_LISTING_S, _SYNC_S = 1800.0, 3600.0
#: The API calls of a command that lists a library, such as `ls`.
_COMMAND_S = 900.0
#: One preview image, and the command's wait for it.
PREVIEW_S, PREVIEW_ANSWER_S = 30.0, 45.0
#: One step of `warm`, after which the command asks again, and the command's wait for its answer.
WARM_STEP_S, WARM_ANSWER_S = 60.0, 75.0
#: How often systemd is asked for more start time, and how much: a busy machine may be late.
START_ASK_EVERY_S, START_ASK_FOR_S = 15.0, 60.0

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
    """Time limits in seconds that depend on the options of the user.

    :ivar answer_s: ``--api-timeout``: longest silence of the API before and within an answer.
    :ivar asked_stat_s: ``--stat-timeout``; None: not given. :ivar asked_read_s: ``--read-timeout``.
    """

    answer_s: float = API_TIMEOUT_S
    asked_stat_s: float | None = None
    asked_read_s: float | None = None

    @property
    def connect_s(self) -> float:
        """Limit for one attempt to connect to the API."""
        return min(CONNECT_S, self.answer_s)

    @property
    def unproven_s(self) -> float:
        """Limit for the answer of an address that never answered, if the API has another address.

        After four such addresses, half of the time is left for an API that is just slow.
        """
        return min(UNPROVEN_S, self.answer_s / 8)

    @property
    def exchange_s(self) -> float:
        """Limit for one whole exchange with the API.

        If the API uses all of ``answer_s`` before its answer, the same time is left for the answer.
        """
        return max(EXCHANGE_TIMEOUT_S, 2 * self.answer_s)

    @property
    def first_call_s(self) -> float:
        """Limit for the first API call of a command, including the connection."""
        return self.answer_s + _BESIDE_S

    @property
    def probe_s(self) -> float:
        """Limit for a probe of one source: an answer of the API and one byte of the source."""
        return max(_READ_S, self.answer_s + _BESIDE_S)

    @property
    def source_s(self) -> float:
        """Limit for a probe or a fetch of a mount, for any waiting program.

        At least ``--stat-timeout`` and ``--read-timeout``. A program that copies waits longer
        (`copy_s`), for several attempts.
        """
        return max(self.probe_s, self.asked_stat_s or 0.0, self.asked_read_s or 0.0)

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

    @property
    def copy_s(self) -> float:
        """Limit for a `stat` or an open of a program that copies: enough for two attempts."""
        return max(COPY_S, 2 * self.source_s)

    @property
    def first_listing_s(self) -> float:
        """Limit for the first listing of a library."""
        return max(_FIRST_LISTING_S, 2 * self.exchange_s)

    @property
    def sync_s(self) -> float:
        """Limit for each later listing of a library."""
        return max(_SYNC_S, 2 * self.exchange_s)

    @property
    def command_s(self) -> float:
        """Limit for the calls of a command that lists a library."""
        return max(_COMMAND_S, 2 * self.exchange_s)

    def nested(self) -> tuple[tuple[str, float, str, float], ...]:
        """Each inner limit with its outer limit: the names and seconds of both."""
        source = ("probe or fetch", self.source_s)
        listings = (
            ("first listing", self.first_listing_s),
            ("sync", self.sync_s),
            ("command", self.command_s),
        )
        connect, stall = ("connect", CONNECT_S), ("stall", STALL_TIMEOUT_S)
        head, body = ("head of an answer", HEAD_TIMEOUT_S), ("small body", SMALL_BODY_S)
        api_connect, answer = ("connect to the API", self.connect_s), ("API answer", self.answer_s)
        exchange, preview = ("API exchange", self.exchange_s), ("preview image", PREVIEW_S)
        pairs = (
            (("attempt delay", ATTEMPT_DELAY_S), connect),
            (("attempt delay", ATTEMPT_DELAY_S), api_connect),
            (("look-up of the API", API_LOOK_UP_S), connect),
            (("watchdog", WATCHDOG_S), head),
            (("watchdog", WATCHDOG_S), body),
            *((each, stall) for each in (connect, head, body)),
            *((each, source) for each in (connect, stall, head, body)),
            *((each, preview) for each in (connect, stall, head, body)),
            (("retry delay", MAX_RETRY_DELAY_S), source),
            (api_connect, ("first call", self.first_call_s)),
            (answer, ("first call", self.first_call_s)),
            (("both", self.connect_s + self.answer_s), ("first call", self.first_call_s)),
            (("last attempt begins", UNREACHABLE_S), ("first call", self.first_call_s)),
            (("CDN patience", CDN_PATIENCE_S), ("stat", self.stat_s)),
            (("CDN patience", CDN_PATIENCE_S), source),
            (("answer of an unproven address", self.unproven_s), answer),
            (("answer of an unproven source host", UNPROVEN_S), stall),
            (("answer of an unproven source host", UNPROVEN_S), ("stat", self.stat_s)),
            (answer, exchange),
            (answer, source),
            (answer, ("captions", self.captions_s)),
            (api_connect, ("stat", self.stat_s)),
            (answer, ("read", self.read_s)),
            (source, ("copy", self.copy_s)),
            *((exchange, listing) for listing in listings),
            (preview, ("preview answer", PREVIEW_ANSWER_S)),
            (("warm step", WARM_STEP_S), ("warm answer", WARM_ANSWER_S)),
            (("start time asked", START_ASK_EVERY_S), ("start time given", START_ASK_FOR_S)),
        )
        return tuple((*inner, *outer) for inner, outer in pairs)
