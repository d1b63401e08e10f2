"""A fetch that does what the test planned for it, and lets the test in between two pieces."""

from __future__ import annotations

from collections.abc import Callable

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion
from tests.unit.fakes import land


class StepFetch:
    """A `fetch.loader.RangeGet`.

    :ivar ranges: what was asked for, in order.
    :ivar between: called before each piece is delivered, and once after the last.
    """

    def __init__(self) -> None:
        self.ranges: list[ByteRange] = []
        self.remaining_s: list[float] = []
        self.between: Callable[[], None] = lambda: None
        self._failure: tuple[int, Exception | None] | None = None

    def fail_after(self, pieces: int, error: Exception) -> None:
        """Let the next fetch fail when it has filled so many rooms."""
        self._failure = pieces, error

    def stop_after(self, pieces: int) -> None:
        """Let the next fetch return as if that were all."""
        self._failure = pieces, None

    def __call__(
        self, identity: SourceVersion, wanted: ByteRange, landing: BufferSink, deadline: Deadline
    ) -> None:
        views = landing.buffers()
        self.ranges.append(wanted)
        self.remaining_s.append(deadline.remaining_s())
        failure, self._failure = self._failure, None
        reached, number = wanted.start, 0
        while reached < wanted.stop:
            self.between()
            if failure is not None and failure[0] <= number:
                if failure[1] is not None:
                    raise failure[1]
                return
            reached = land(identity, reached, views)
            landing.commit()
            number += 1
            views = landing.buffers() if reached < wanted.stop else []
        self.between()
