"""The stop-watch of one GET: started before a connection is sought, read out once at its end."""

from __future__ import annotations

from backlotfs.concurrency.clock import Clock
from backlotfs.source.get_record import GetMeter, GetRecord, Outcome

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
