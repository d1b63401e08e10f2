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
from typing import Protocol

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import (
    BacklotError,
    ContentChanged,
    InvalidRangeResponse,
    RemoteUnavailable,
    SourceGone,
    SourceMissing,
)
from backlotfs.http.pool import small_body
from backlotfs.http.range_checks import ERROR_BODY_BYTES, check_range_answer, parse_s3_error
from backlotfs.log import events
from backlotfs.source.bandwidth import BandwidthLimit, RecentRate
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.timed_get import TimedResponse
from backlotfs.source.version import SourceVersion, identity_of

log = logging.getLogger(__name__)

_FIRST_BYTE = ByteRange(0, 1)


class SourceProbe:
    """Asks source hosts for identities. Any thread may call it."""

    def __init__(
        self, signed_get: SignedGet, reported: Callable[[str], int | None] = lambda _code: None
    ) -> None:
        """``reported``: the ``file_size`` that the API last gave for an asset."""
        self._signed_get = signed_get
        self._reported = reported

    def probe(self, embed_code: str, deadline: Deadline) -> SourceVersion:
        """The identity of the source as it is now.

        :raises SourceMissing, SourceDenied, SourceGone: there is no source to be had.
        :raises BacklotError: it could not be found out now; see `SignedGet.open`.
        """
        failures = 0
        while True:
            try:
                identity = self._once(embed_code, deadline)
                self._compare(identity)
                return identity  # noqa: TRY300  # what follows is for failures
            except InvalidRangeResponse as error:
                failures += 1
                self._signed_get.pause(failures, deadline, error)

    def _compare(self, identity: SourceVersion) -> None:
        reported = self._reported(identity.embed_code)
        if reported is not None and reported != identity.size:
            events.SIZE_DIFFERS.log(
                log, embed_code=identity.embed_code, size=identity.size, api_size=reported
            )

    def _once(self, embed_code: str, deadline: Deadline) -> SourceVersion:
        with self._signed_get.open(embed_code, _FIRST_BYTE, deadline) as answer:
            if answer.status == 416:  # byte 0 does not exist: the object is empty
                error = parse_s3_error(small_body(answer, ERROR_BODY_BYTES))
                if error.actual_size not in (None, 0):
                    raise InvalidRangeResponse(f"416 for the first byte of {embed_code}")
                return identity_of(embed_code, answer.headers, 0)
            served = check_range_answer(answer.status, answer.headers, _FIRST_BYTE)
            small_body(answer, ERROR_BODY_BYTES)
            return identity_of(embed_code, answer.headers, served.total)


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
        self._clock = clock
        self._limit = limit
        self._rate = rate

    def fetch(
        self,
        identity: SourceVersion,
        wanted: ByteRange,
        landing: BufferSink,
        deadline: Deadline,
    ) -> None:
        """Deliver ``wanted`` to ``landing``.

        :param wanted: inside ``identity.size``, not empty.
        :raises ContentChanged: the host has another version, or none any more.
        :raises InvalidRangeResponse: the host keeps answering with something else.
        :raises RemoteUnavailable: retries spent. :raises DeadlineExceeded: time spent.
        """
        reached = wanted.start
        failures = 0
        while reached < wanted.stop:
            before = reached
            failure: BacklotError
            try:
                rest = ByteRange(reached, wanted.stop)
                reached = self._transfer(identity, rest, landing, deadline)
                continue
            except _Cut as error:
                reached, failure = error.reached, error.cause
            except InvalidRangeResponse as error:
                failure = error  # a lying answer may be one server of many: asked again
            # Only failures without a byte between them add up.
            failures = 1 if reached > before else failures + 1
            log.debug("resuming %s at byte %d: %s", identity.embed_code, reached, failure)
            self._signed_get.pause(failures, deadline, failure)

    def _transfer(
        self,
        identity: SourceVersion,
        wanted: ByteRange,
        landing: BufferSink,
        deadline: Deadline,
    ) -> int:
        """Make one GET and return the first byte not delivered. :raises _Cut: it ended early."""
        views = landing.buffers()  # raises if nobody wants them any more: then no GET is made
        with self._open(identity, wanted, deadline) as answer:
            self._validate(identity, wanted, answer)
            reached = wanted.start
            while True:
                size = sum(map(len, views))
                try:
                    got = answer.read_into(views, deadline.remaining_s())
                except RemoteUnavailable as error:
                    raise _Cut(reached, error) from None
                reached += landing.commit(got)
                if got != size:
                    short = RemoteUnavailable(f"source host {answer.host}: the body ended early")
                    raise _Cut(reached, short)
                self._rest(answer, size, landing.urgent, deadline)
                if reached >= wanted.stop:
                    break
                deadline.check(f"reading the source of {identity.embed_code}")
                views = landing.buffers()
            return reached

    def _rest(self, answer: TimedResponse, size: int, urgent: bool, deadline: Deadline) -> None:
        """Count the bytes and keep to the bandwidth limit; a pause does not make the host slow."""
        if self._rate is not None:
            self._rate.add(size)
        if self._limit is None:
            return
        rest_s = self._limit.take(size, self._clock.monotonic(), urgent=urgent)
        if rest_s > 0:
            self._clock.sleep(rest_s)
            answer.rested(rest_s)
            deadline.extend(rest_s)

    def _open(
        self, identity: SourceVersion, wanted: ByteRange, deadline: Deadline
    ) -> TimedResponse:
        try:
            return self._signed_get.open(
                identity.embed_code, wanted, deadline, if_match=identity.strong_etag
            )
        except (SourceGone, SourceMissing) as error:  # it was there when the file was opened
            raise ContentChanged(str(error)) from None

    @staticmethod
    def _validate(identity: SourceVersion, wanted: ByteRange, answer: TimedResponse) -> None:
        if answer.status == 416:  # inside the size we know, so the object has shrunk
            raise ContentChanged(f"the source of {identity.embed_code} has shrunk (416)")
        served = check_range_answer(answer.status, answer.headers, wanted)
        identity.verify(answer.headers, served.total)
        if served.served != wanted:
            raise InvalidRangeResponse(f"a cut range for {identity.embed_code}")


class _Cut(Exception):
    """A GET ended before its range did. It never leaves this module."""

    def __init__(self, reached: int, cause: RemoteUnavailable) -> None:
        super().__init__(str(cause))
        self.reached = reached
        self.cause = cause
