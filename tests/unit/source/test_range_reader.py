# SPDX-License-Identifier: Apache-2.0
"""Bytes of one version, validated and resumed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import (
    ContentChanged,
    DeadlineExceeded,
    ProtocolViolation,
    RemoteUnavailable,
    SourceDenied,
)
from backlotfs.source.bandwidth import BandwidthLimit, RecentRate
from backlotfs.source.range_reader import RangeReader
from backlotfs.source.signed_get import Outcome
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version
from tests.fakes.source_host import ScriptedAnswer, Source, partial
from tests.fakes.sources import expected_bytes

V1 = source_version(size=100)
CUT = RemoteUnavailable("source host origin.example: the connection was cut")


def held(start: int, stop: int) -> bytes:
    """What V1 holds there."""
    return expected_bytes(V1, ByteRange(start, stop))


def good(start: int, stop: int, *body: bytes | Exception) -> ScriptedAnswer:
    """A 206 of V1 for this range; its whole body unless one is given."""
    return partial(ByteRange(start, stop), 100, *(body or (held(start, stop),)))


class Pieces:
    """A `BufferSink` that asks for the bytes in pieces of one size."""

    def __init__(self, wanted: ByteRange, piece_bytes: int) -> None:
        self.landed_pieces: list[bytes] = []
        self.after_each: Callable[[], None] = lambda: None
        self.urgent = True
        self._left = wanted.length
        self._piece_bytes = piece_bytes
        self._memory = bytearray()

    def buffers(self) -> list[memoryview]:
        """One piece; the same memory again until it is whole."""
        if not self._memory:
            self._memory = bytearray(min(self._piece_bytes, self._left))
        return [memoryview(self._memory)]

    def commit(self, size: int) -> int:
        """Keep it if it is whole."""
        if size < len(self._memory):
            return 0
        piece, self._memory = bytes(self._memory), bytearray()
        self.landed_pieces.append(piece)
        self._left -= len(piece)
        self.after_each()
        return len(piece)


def fetched(
    source: Source,
    start: int,
    stop: int,
    piece_bytes: int = 10,
    *,
    version: SourceVersion = V1,
    deadline: Deadline | None = None,
) -> list[bytes]:
    """The pieces that arrive."""
    pieces = Pieces(ByteRange(start, stop), piece_bytes)
    RangeReader(source.signed_get, source.clock).fetch(
        version, ByteRange(start, stop), pieces, deadline or source.deadline()
    )
    return pieces.landed_pieces


def test_pieces() -> None:
    """In order, each of the asked size, the last as long as what is left."""
    source = Source(good(5, 30))
    assert fetched(source, 5, 30) == [held(5, 15), held(15, 25), held(25, 30)]
    assert source.pool.asked == [("http://origin.example/E1?n=1", ByteRange(5, 30), '"v1"')]
    assert source.all_closed


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_only_a_strong_etag_is_asked_for(etag: str | None) -> None:
    """``If-Match`` never matches a weak one."""
    version = source_version(size=100, etag=etag)
    source = Source(partial(ByteRange(0, 5), 100, b"abcde", etag=etag))
    assert fetched(source, 0, 5, version=version) == [b"abcde"]
    assert source.pool.asked[0].if_match is None


def test_a_cut_transfer_is_resumed_at_the_byte_reached() -> None:
    """Whole pieces stay delivered, a torn one is asked again."""
    source = Source(good(0, 30, held(0, 25), CUT), good(20, 30))
    assert b"".join(fetched(source, 0, 30)) == held(0, 30)
    assert [asked.wanted for asked in source.pool.asked] == [ByteRange(0, 30), ByteRange(20, 30)]
    assert source.clock.slept_s == [1.0]
    assert source.all_closed


def test_a_body_that_ends_early_is_resumed() -> None:
    """The host closed the connection politely, and too soon."""
    source = Source(good(0, 30, held(0, 10)), good(10, 30))
    assert b"".join(fetched(source, 0, 30)) == held(0, 30)


def test_a_shorter_answer_is_gone_on_with() -> None:
    """The rest is asked for at once, from the byte reached, in the middle of a piece as well."""
    source = Source(good(0, 15), good(15, 18), good(18, 30, held(18, 25), CUT), good(20, 30))
    assert fetched(source, 0, 30) == [held(0, 10), held(10, 20), held(20, 30)]
    assert [asked.wanted.start for asked in source.pool.asked] == [0, 15, 18, 20]
    assert source.clock.slept_s == [1.0]
    assert [record.outcome for record in source.meter.records].count(Outcome.WHOLE) == 3
    assert source.all_closed


def test_a_cut_after_a_shorter_answer() -> None:
    """What the shorter one brought stays; what was torn comes again."""
    source = Source(good(0, 3), good(3, 10, held(3, 7), CUT), good(3, 10))
    assert fetched(source, 0, 10) == [held(0, 10)]
    assert [asked.wanted.start for asked in source.pool.asked] == [0, 3, 3]


def test_progress_earns_patience() -> None:
    """More cuts than attempts are survived as long as each transfer brings a piece."""
    answers = [good(at, 100, held(at, at + 10), CUT) for at in range(0, 90, 10)]
    source = Source(*answers, good(90, 100), max_attempts=2)
    assert b"".join(fetched(source, 0, 100)) == held(0, 100)
    assert source.clock.slept_s == [1.0] * 9


def test_no_progress_ends_it() -> None:
    """Cuts without a byte between them add up to the attempts there are."""
    source = Source(*[good(0, 30, CUT) for _ in range(3)])
    with pytest.raises(RemoteUnavailable, match="cut"):
        fetched(source, 0, 30)
    assert source.clock.slept_s == [1.0, 2.0]


@pytest.mark.parametrize(
    "lie",
    [
        ScriptedAnswer(200, {}, held(0, 100)),
        good(1, 31),
        ScriptedAnswer(206, {"etag": '"v1"'}, held(0, 30)),
        ScriptedAnswer(
            206, {"content-range": "bytes 0-29/100", "content-encoding": "gzip"}, held(0, 30)
        ),
        ScriptedAnswer(
            206, {"content-range": "bytes 0-29/100", "content-length": "31"}, held(0, 30)
        ),
    ],
)
def test_a_lying_answer_is_asked_again_and_never_kept(lie: ScriptedAnswer) -> None:
    """One server of many may lie: the next one is asked, and no byte of the lie is delivered."""
    source = Source(lie, good(0, 30))
    assert b"".join(fetched(source, 0, 30)) == held(0, 30)
    source = Source(lie, lie, lie)
    pieces = Pieces(ByteRange(0, 30), 10)
    with pytest.raises(ProtocolViolation):
        RangeReader(source.signed_get, source.clock).fetch(
            V1, ByteRange(0, 30), pieces, source.deadline()
        )
    assert pieces.landed_pieces == []


@pytest.mark.parametrize(
    "other",
    [
        partial(ByteRange(0, 30), 100, b"x" * 30, etag='"v2"'),
        partial(ByteRange(0, 30), 200, b"x" * 30),
        partial(ByteRange(0, 20), 20, b"x" * 20),
        partial(ByteRange(0, 30), 100, b"x" * 30, etag=None),
        ScriptedAnswer(416, {"content-range": "bytes */0"}),
    ],
)
def test_another_version_is_stale_at_once(other: ScriptedAnswer) -> None:
    """Another ETag or size, a range that is no more: no second try."""
    source = Source(other)
    with pytest.raises(ContentChanged, match="E1"):
        fetched(source, 0, 30)
    assert source.all_closed


def test_without_an_etag_last_modified_tells() -> None:
    """The second-best validator is used when there is no better."""
    version = source_version(size=100, etag=None)
    source = Source(
        partial(ByteRange(0, 5), 100, b"abcde", etag=None, last_modified="Wed, 02 Mar 2016")
    )
    with pytest.raises(ContentChanged):
        fetched(source, 0, 5, version=version)


def test_a_new_version_in_the_middle() -> None:
    """A resumed transfer does not join two versions."""
    source = Source(
        good(0, 30, held(0, 10), CUT), partial(ByteRange(10, 30), 100, b"x" * 20, etag='"v2"')
    )
    with pytest.raises(ContentChanged):
        fetched(source, 0, 30)


def test_gone_while_open() -> None:
    """404 for an open file is "not what was opened"; 403 is not."""
    source = Source(ScriptedAnswer(404), ScriptedAnswer(404))
    with pytest.raises(ContentChanged, match="gone"):
        fetched(source, 0, 30)
    source = Source(ScriptedAnswer(403), ScriptedAnswer(403))
    with pytest.raises(SourceDenied):
        fetched(source, 0, 30)


def test_beyond_the_end() -> None:
    """What a caller asks beyond the size it knows is refused, not shortened in silence."""
    source = Source()
    with pytest.raises(ProtocolViolation, match="E1"):
        fetched(source, 90, 110)
    assert source.pool.asked == []


def test_deadline_in_the_middle() -> None:
    """A host that trickles is left when the time is spent; what came stays delivered."""
    source = Source(good(0, 30))
    pieces = Pieces(ByteRange(0, 30), 10)
    pieces.after_each = lambda: source.clock.advance(3.0)
    with pytest.raises(DeadlineExceeded, match="E1"):
        RangeReader(source.signed_get, source.clock).fetch(
            V1, ByteRange(0, 30), pieces, source.deadline(5.0)
        )
    assert pieces.landed_pieces == [held(0, 10), held(10, 20)]


def test_the_limit_of_the_bandwidth_is_kept() -> None:
    """After each piece it rests as told, and the deadline moves with it; all bytes are counted."""
    source = Source(good(0, 30))
    pieces = Pieces(ByteRange(0, 30), 10)
    limit, rate = BandwidthLimit(1.0, burst_bytes=0.0), RecentRate(ManualClock())
    RangeReader(source.signed_get, source.clock, limit=limit, rate=rate).fetch(
        V1, ByteRange(0, 30), pieces, source.deadline(5.0)
    )
    assert b"".join(pieces.landed_pieces) == held(0, 30)
    assert sum(source.clock.slept_s) >= 30.0
    assert rate.bytes_per_s() == 30
    assert source.all_closed


def test_bytes_are_counted_before_they_are_delivered() -> None:
    """A reader that has them finds them counted; what came of a torn piece counts as well."""
    source = Source(good(0, 30, held(0, 25)), good(20, 30))
    pieces, rate = Pieces(ByteRange(0, 30), 10), RecentRate(ManualClock())
    counted: list[float] = []
    pieces.after_each = lambda: counted.append(rate.bytes_per_s())
    reader = RangeReader(source.signed_get, source.clock, rate=rate)
    reader.fetch(V1, ByteRange(0, 30), pieces, source.deadline())
    assert counted == [10, 20, 35]
