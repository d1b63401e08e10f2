"""The answer to a ranged GET on a source, timed until its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from backlotfs.errors import ContentChanged, Interrupted, ProtocolViolation
from backlotfs.http.pool import RangeAnswer
from backlotfs.source.timed_get import Outcome, TimedGet


class TimedResponse:
    """Status 206 or 416, the body not yet read. A context; belongs to the thread that asked."""

    __slots__ = ("_answer", "_closed", "_get", "headers", "host", "status")

    def __init__(
        self, answer: RangeAnswer, get: TimedGet, closed: Callable[[], None] = lambda: None
    ) -> None:
        """``closed`` is called once the answer is closed."""
        self._closed = closed
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
        self._closed()
        if error is None:
            self._get.ended(Outcome.WHOLE)
        elif isinstance(error, Interrupted):
            self._get.ended(Outcome.DROPPED)
        elif isinstance(error, ProtocolViolation | ContentChanged):
            self._get.ended(Outcome.REFUSED)
        else:
            self._get.ended(Outcome.CUT)
