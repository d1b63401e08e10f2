"""Learns the rhythm of a reader that reads a stretch, skips one, and so on. Pure.

Fetching what is skipped would cost such a reader its share of the line. Two skips of about the same
length after about the same stretch make a rhythm; a read where it says nothing is read ends it.
"""

from __future__ import annotations

from backlotfs.byterange import ByteRange

#: Gaps below this are cheaper fetched than left out: a GET costs about as much by its latency.
MIN_GAP_BYTES = 512 * 1024
#: Two stretches, or two gaps, are the same up to this: the kernel's own read-ahead makes them vary.
TOLERANCE_BYTES = 256 * 1024

#: So many stretches are fetched ahead at most, however short they are.
MAX_STRETCHES = 32


class Stride:
    """The last skips of one cursor. Not thread-safe: its owner locks."""

    __slots__ = ("_gap", "_rhythm", "_run", "_run_start")

    def __init__(self, start: int) -> None:
        """``start``: where the first stretch begins."""
        self._run_start = start
        self._run = self._gap = 0
        self._rhythm = False

    @property
    def learned(self) -> bool:
        """Whether it is known what will be skipped."""
        return self._rhythm

    def skipped(self, gap: ByteRange) -> None:
        """The reader went from ``gap.start`` to ``gap.stop`` without reading what lies between."""
        if gap.length < MIN_GAP_BYTES:
            return
        run = gap.start - self._run_start
        self._rhythm = (
            self._gap > 0
            and abs(run - self._run) <= TOLERANCE_BYTES
            and abs(gap.length - self._gap) <= TOLERANCE_BYTES
        )
        if self._rhythm:
            # The longer stretch and the earlier return: what is planned is never too little.
            run, length = max(run, self._run), min(gap.length, self._gap)
        else:
            length = gap.length
        self._run, self._gap, self._run_start = run, length, gap.stop

    def forget(self, start: int) -> None:
        """It was no skip, or the reader went another way: begin again at ``start``."""
        self._run_start = start
        self._run = self._gap = 0
        self._rhythm = False

    def breaks(self, position: int) -> bool:
        """Whether reading up to ``position`` goes on where the rhythm says that it skips."""
        return self._rhythm and position > self._run_start + self._run + TOLERANCE_BYTES

    def spread(self, window_bytes: int) -> int:
        """How far ahead a window reaches when what will be skipped does not count."""
        if not self._rhythm:
            return window_bytes
        return min(window_bytes, MAX_STRETCHES * self._run) * (self._run + self._gap) // self._run

    def stretches(self, ahead: ByteRange, longest: int) -> list[ByteRange]:
        """The parts of ``ahead`` that will be read, by a learned rhythm.

        The last is left for later while it is cut short by the end of ``ahead``, unless it is
        longer than ``longest``: requests should be as large as the stretches allow.

        :param ahead: not before the stretch that is being read.
        """
        period = self._run + self._gap
        start = self._run_start + (ahead.start - self._run_start) // period * period
        found = []
        while start < ahead.stop:
            stop = start + self._run
            stretch = ByteRange(max(start, ahead.start), min(stop, ahead.stop))
            if stretch.length and (stop <= ahead.stop or self._run > longest):
                found.append(stretch)
            start += period
        return found
