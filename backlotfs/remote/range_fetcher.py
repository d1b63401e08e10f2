"""Bytes of one version of a source, validated, in the pieces the caller wants them in.

A transfer that breaks is resumed at the byte it reached; what was delivered stays delivered,
because every piece was checked to be of the right version, range and encoding before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from backlotfs.byterange import ByteRange
from backlotfs.clock import Deadline
from backlotfs.errors import (
    BacklotError,
    ContentChanged,
    FalseAnswer,
    RemoteUnavailable,
    SourceGone,
    SourceMissing,
)
from backlotfs.remote.identity import SourceIdentity
from backlotfs.remote.signed_get import SignedGet
from backlotfs.wire.connections import RangeAnswer
from backlotfs.wire.content_range import check_range_answer

log = logging.getLogger(__name__)

#: Takes one piece, in order.
Sink = Callable[[bytes], None]


class RangeFetcher:
    """Fetches byte ranges of a `SourceIdentity`. Any thread may call it."""

    def __init__(self, signed_get: SignedGet) -> None:
        self._signed_get = signed_get

    def fetch(
        self,
        identity: SourceIdentity,
        wanted: ByteRange,
        piece_bytes: int,
        sink: Sink,
        deadline: Deadline,
    ) -> None:
        """Deliver ``wanted`` to ``sink`` in pieces of ``piece_bytes`` (the last may be short).

        :param wanted: inside ``identity.size``, not empty.
        :raises ContentChanged: the host has another version, or none any more.
        :raises FalseAnswer: the host keeps answering with something else.
        :raises RemoteUnavailable: retries spent. :raises DeadlineExceeded: time spent.
        """
        reached = wanted.start
        failures = 0
        while reached < wanted.stop:
            before = reached
            failure: BacklotError
            try:
                reached = self._transfer(
                    identity, ByteRange(reached, wanted.stop), piece_bytes, sink, deadline
                )
                continue
            except _Cut as error:
                reached, failure = error.reached, error.cause
            except FalseAnswer as error:
                failure = error  # a lying answer may be one server of many: asked again
            # Progress earns patience: only failures without a byte between them add up.
            failures = 1 if reached > before else failures + 1
            log.debug("resuming %s at byte %d: %s", identity.embed_code, reached, failure)
            self._signed_get.pause(failures, deadline, failure)

    def _transfer(
        self,
        identity: SourceIdentity,
        wanted: ByteRange,
        piece_bytes: int,
        sink: Sink,
        deadline: Deadline,
    ) -> int:
        """One GET; the first byte not delivered. :raises _Cut: when it ended early."""
        with self._open(identity, wanted, deadline) as answer:
            self._validate(identity, wanted, answer)
            reached = wanted.start
            while reached < wanted.stop:
                answer.limit_wait(deadline.remaining_s())
                size = min(piece_bytes, wanted.stop - reached)
                try:
                    piece = answer.read(size)
                except RemoteUnavailable as error:
                    raise _Cut(reached, error) from None
                if len(piece) != size:
                    short = RemoteUnavailable(f"source host {answer.host}: the body ended early")
                    raise _Cut(reached, short)
                sink(piece)
                reached += size
                deadline.check(f"reading the source of {identity.embed_code}")
            return reached

    def _open(self, identity: SourceIdentity, wanted: ByteRange, deadline: Deadline) -> RangeAnswer:
        try:
            return self._signed_get.open(
                identity.embed_code, wanted, deadline, if_match=identity.strong_etag
            )
        except (SourceGone, SourceMissing) as error:  # it was there when the file was opened
            raise ContentChanged(str(error)) from None

    @staticmethod
    def _validate(identity: SourceIdentity, wanted: ByteRange, answer: RangeAnswer) -> None:
        if answer.status == 416:  # inside the size we know, so the object has shrunk
            raise ContentChanged(f"the source of {identity.embed_code} has shrunk (416)")
        served = check_range_answer(answer.status, answer.headers, wanted)
        identity.confirm(answer.headers, served.total)
        if served.served != wanted:
            raise FalseAnswer(f"a cut range for {identity.embed_code}")


class _Cut(Exception):
    """A transfer ended before its range did; never leaves this module."""

    def __init__(self, reached: int, cause: RemoteUnavailable) -> None:
        super().__init__(str(cause))
        self.reached = reached
        self.cause = cause
