"""One ranged GET on a source: its stop-watch, its answer, and what it told of the host."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol

from backlotfs.concurrency.clock import Clock
from backlotfs.errors import ContentChanged, Interrupted, ProtocolViolation
from backlotfs.http.pool import RangeAnswer


class HostStats(NamedTuple):
    """The latency and the rates measured on the connections to one source host.

    :ivar latency_s: from a request to its first byte, on a connection kept alive.
    :ivar connection_bytes_per_s: of one connection, while bytes flow.
    :ivar total_bytes_per_s: of all connections together, as lately achieved.
    """

    latency_s: float
    connection_bytes_per_s: float
    total_bytes_per_s: float


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


#: Answers by which a host says that it is asked for too much.
OVERLOADED_STATUSES = frozenset({429, 503})


class TimedGet:
    """Times one GET and tells a meter when it is over. Belongs to the thread that makes it."""

    __slots__ = (
        "_clock",
        "_embed_code",
        "_first_byte_s",
        "_host",
        "_meter",
        "_new_connection",
        "_over",
        "_received_bytes",
        "_rested_s",
        "_started_s",
    )

    def __init__(self, meter: GetMeter, clock: Clock, embed_code: str) -> None:
        """Start now."""
        self._meter = meter
        self._clock = clock
        self._embed_code = embed_code
        self._host = ""
        self._new_connection = True
        self._first_byte_s: float | None = None
        self._received_bytes = 0
        self._rested_s = 0.0
        self._over = False
        self._started_s = clock.monotonic()
        meter.began(embed_code, self._started_s)

    def answered(self, host: str, *, new_connection: bool) -> None:
        """The head of the answer is here."""
        self._host = host
        self._new_connection = new_connection
        self._first_byte_s = self._clock.monotonic() - self._started_s

    def received(self, size: int) -> None:
        """So many more bytes of the body are here."""
        self._received_bytes += size

    def rested(self, seconds: float) -> None:
        """We let the line wait on purpose: that is not its slowness."""
        self._rested_s += seconds

    def ended(self, outcome: Outcome) -> None:
        """Tell the meter; what is said after the first time is not heard."""
        if self._over:
            return
        self._over = True
        seconds = self._clock.monotonic() - self._started_s - self._rested_s
        self._meter.ended(
            GetRecord(
                self._host,
                self._embed_code,
                self._new_connection,
                self._started_s,
                self._first_byte_s,
                max(0.0, seconds),
                self._received_bytes,
                outcome,
            )
        )


class TimedResponse:
    """Status 206 or 416, the body not yet read. A context; belongs to the thread that asked."""

    __slots__ = ("_answer", "_get", "headers", "host", "status")

    def __init__(self, answer: RangeAnswer, get: TimedGet) -> None:
        self._answer = answer
        self._get = get
        self.status: int = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self.host: str = answer.host

    def read(self, size: int) -> bytes:
        """As `RangeAnswer.read`."""
        return self._answer.read(size)

    def read_into(self, views: Sequence[memoryview], timeout_s: float) -> int:
        """As `RangeAnswer.read_into`."""
        size = self._answer.read_into(views, timeout_s)
        self._get.received(size)
        return size

    def rested(self, seconds: float) -> None:
        """We let the line wait on purpose."""
        self._get.rested(seconds)

    def __enter__(self) -> TimedResponse:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answer.close()
        if error is None:
            self._get.ended(Outcome.WHOLE)
        elif isinstance(error, Interrupted):
            self._get.ended(Outcome.DROPPED)
        elif isinstance(error, ProtocolViolation | ContentChanged):
            self._get.ended(Outcome.REFUSED)
        else:
            self._get.ended(Outcome.CUT)
