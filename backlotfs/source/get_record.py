"""What one GET on a source told of the line it came over, and who wants to know."""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol


class Outcome(enum.Enum):
    """How a GET ended."""

    #: All that was asked for has come.
    WHOLE = "whole"
    #: We stopped it: nobody wanted the rest, or another GET was faster.
    DROPPED = "dropped"
    #: The host asked for less: 429, 503.
    OVERLOADED = "overloaded"
    #: Reset, ended early, stalled, refused: the line's or the host's trouble.
    CUT = "cut"
    #: Answered, and the answer says nothing of the line: expired, gone, changed, false.
    REFUSED = "refused"


class GetRecord(NamedTuple):
    """One GET, from before its connection was sought until its last byte.

    :ivar host: name of the host that was asked.
    :ivar embed_code: of the asset whose source it is.
    :ivar new_connection: whether a connection was made for it.
    :ivar started_s: on the monotonic clock.
    :ivar first_byte_s: from ``started_s`` to the head of the answer; None when none came.
    :ivar seconds: from ``started_s`` to the end, waits for ``--bwlimit`` left out.
    :ivar received_bytes: of the body.
    """

    host: str
    embed_code: str
    new_connection: bool
    started_s: float
    first_byte_s: float | None
    seconds: float
    received_bytes: int
    outcome: Outcome


class GetMeter(Protocol):
    """Is told of every GET, from the thread that makes it; cheap, and raises nothing."""

    def began(self, embed_code: str, now_s: float) -> None:
        """A GET goes out; exactly one `ended` follows."""

    def ended(self, record: GetRecord) -> None:
        """It is over, however it went."""


class NoMeter:
    """For those who do not measure."""

    def began(self, embed_code: str, now_s: float) -> None:
        """Nothing."""

    def ended(self, record: GetRecord) -> None:
        """Nothing."""
