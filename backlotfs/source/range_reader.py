"""Reads a source: its version by one byte, and ranges of a version, each answer validated.

A GET that breaks is resumed at the byte it reached. What was delivered stays delivered, because
every answer was checked before: its version, its range and its encoding.

The API's ``file_size`` may disagree with the object; ``Content-Range`` wins. The GET of one byte
goes to the source host and costs no API credit; the URL for it does, and is kept for the reads
that follow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from backlotfs.api.rate_limiter import Priority, Turn
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import (
    ContentChanged,
    InvalidRangeResponse,
    RemoteUnavailable,
    SourceGone,
    SourceMissing,
)
from backlotfs.http.pool import (
    ERROR_BODY_BYTES,
    RangeAnswer,
    check_range_answer,
    parse_s3_error,
    small_body,
)
from backlotfs.log import events
from backlotfs.source.bandwidth import BandwidthLimit, RecentRate
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.version import SourceVersion, version_of

log = logging.getLogger(__name__)

_FIRST_BYTE = ByteRange(0, 1)


class SourceProbe:
    """Asks source hosts which version of a source they have. Any thread may call it."""

    def __init__(
        self, signed_get: SignedGet, reported: Callable[[str], int | None] = lambda _code: None
    ) -> None:
        """``reported``: the ``file_size`` that the API last gave for an asset."""
        self._signed_get = signed_get
        self._reported = reported

    def probe(
        self,
        embed_code: str,
        deadline: Deadline,
        priority: Priority = Priority.WAITING,
        turn: Turn | None = None,
    ) -> SourceVersion:
        """The version of the source as it is now.

        :param priority: of the API call, where a new URL is needed.
        :param turn: a turn of the rate limiter that was taken for that call already.
        :raises SourceMissing, SourceDenied, SourceGone: there is no source to be had.
        :raises BacklotError: it could not be found out now; see `SignedGet.read`.
        """
        version = self._signed_get.read(
            embed_code, _FirstByte(embed_code, priority, turn), deadline
        )
        reported = self._reported(embed_code)
        if reported is not None and reported != version.size:
            events.SIZE_DIFFERS.log(
                log, embed_code=embed_code, size=version.size, api_size=reported
            )
        return version


class _FirstByte:
    """The `Reading` of a probe."""

    current: bool = True
    if_match: str | None = None
    reached: int = 0

    def __init__(self, embed_code: str, priority: Priority, turn: Turn | None) -> None:
        self._embed_code = embed_code
        self.priority: Priority | None = priority
        self.turn = turn

    def wanted(self) -> ByteRange:
        return _FIRST_BYTE

    def take(self, answer: RangeAnswer) -> SourceVersion:
        if answer.status == 416:  # byte 0 does not exist: the object is empty
            error = parse_s3_error(small_body(answer, ERROR_BODY_BYTES))
            if error.actual_size not in (None, 0):
                raise InvalidRangeResponse(f"416 for the first byte of {self._embed_code}")
            return version_of(self._embed_code, answer.headers, 0)
        served = check_range_answer(answer.status, answer.headers, _FIRST_BYTE)
        small_body(answer, ERROR_BODY_BYTES)
        return version_of(self._embed_code, answer.headers, served.total)


class BufferSink(Protocol):
    """Where the bytes go."""

    def buffers(self) -> Sequence[memoryview]:
        """Memory for the next bytes, in order, not more than are missing; asked again after a cut.

        It may raise a `BacklotError`, which ends the read.
        """

    def commit(self, size: int | None = None) -> int:
        """Take the first ``size`` bytes of the last `buffers`, which are filled (None: all).

        :return: how many of them are kept; the others are fetched again.
        """

    @property
    def urgent(self) -> bool:
        """Whether a reader waits for these bytes."""


class RangeReader:
    """Fetches byte ranges of a `SourceVersion`. Any thread may call it."""

    def __init__(
        self,
        signed_get: SignedGet,
        clock: Clock,
        *,
        limit: BandwidthLimit | None = None,
        rate: RecentRate | None = None,
    ) -> None:
        """``limit``: of the bandwidth. ``rate``: counts the bytes that come."""
        self._signed_get = signed_get
        self.clock = clock
        self.limit = limit
        self.rate = rate

    def fetch(
        self, version: SourceVersion, wanted: ByteRange, sink: BufferSink, deadline: Deadline
    ) -> None:
        """Deliver ``wanted`` to ``sink``.

        :param wanted: inside ``version.size``, not empty.
        :raises ContentChanged: the host has another version, or none any more.
        :raises InvalidRangeResponse: the host keeps answering with something else.
        :raises RemoteUnavailable: retries spent. :raises DeadlineExceeded: time spent.
        """
        transfer = _Transfer(
            self, version, sink, deadline, wanted.start, wanted.stop, version.strong_etag
        )
        try:
            self._signed_get.read(version.embed_code, transfer, deadline)
        except (SourceGone, SourceMissing) as error:  # it was there when the file was opened
            raise ContentChanged(str(error)) from None


@dataclass(slots=True)
class _Transfer:
    """The `Reading` of one `RangeReader.fetch`.

    :ivar reached: the first byte that was not delivered.
    """

    _owner: RangeReader
    _version: SourceVersion
    _sink: BufferSink
    _deadline: Deadline
    reached: int
    _stop: int
    if_match: str | None
    current: bool = False
    priority: Priority | None = None
    turn: Turn | None = None
    _views: Sequence[memoryview] = ()

    def wanted(self) -> ByteRange:
        self._views = self._sink.buffers()  # raises if nobody wants them: then no GET is made
        return ByteRange(self.reached, self._stop)

    def take(self, answer: RangeAnswer) -> None:
        version, wanted = self._version, ByteRange(self.reached, self._stop)
        if answer.status == 416:  # inside the size we know, so the object has shrunk
            raise ContentChanged(f"the source of {version.embed_code} has shrunk (416)")
        served = check_range_answer(answer.status, answer.headers, wanted)
        version.verify(answer.headers, served.total)
        if served.served != wanted:
            raise InvalidRangeResponse(f"a cut range for {version.embed_code}")
        while True:
            size = sum(map(len, self._views))
            got = answer.read_into(self._views, self._deadline.remaining_s())
            self.reached += self._sink.commit(got)
            if got != size:
                raise RemoteUnavailable(f"source host {answer.host}: the body ended early")
            if self._owner.rate is not None:
                self._owner.rate.add(size)
            if self._owner.limit is not None:
                self._keep_to(self._owner.limit, answer, size)
            if self.reached >= self._stop:
                return
            self._deadline.check(f"read of {version.embed_code}")
            self._views = self._sink.buffers()

    def _keep_to(self, limit: BandwidthLimit, answer: RangeAnswer, size: int) -> None:
        """Pause as the bandwidth limit says; that makes neither the host slow nor the read late."""
        clock = self._owner.clock
        rest_s = limit.take(size, clock.monotonic(), urgent=self._sink.urgent)
        if rest_s > 0:
            clock.sleep(rest_s)
            answer.rested_s += rest_s
            self._deadline.extend(rest_s)
