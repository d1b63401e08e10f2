"""Reads a source: its version by one byte, and ranges of a version, each answer validated.

A GET that breaks is resumed at the byte it reached. What was delivered stays delivered, because
every answer was checked before: its version, its range and its encoding.

The API's ``file_size`` may disagree with the object; ``Content-Range`` wins. The GET of one byte
goes to the source host and costs no API credit; the URL for it does, and is kept for the reads
that follow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
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
from backlotfs.source.etag_aliases import EtagAliases, SeenVersion
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.version import SourceVersion, version_of

log = logging.getLogger(__name__)

_FIRST_BYTE = ByteRange(0, 1)


class SourceProbe:
    """Asks source hosts which version of a source they have. Any thread may call it."""

    def __init__(
        self,
        signed_get: SignedGet,
        reported: Callable[[str], int | None] = lambda _code: None,
        *,
        aliases: EtagAliases | None = None,
        known: Callable[[str], SourceVersion | None] = lambda _code: None,
    ) -> None:
        """Put the parts together.

        :param reported: the ``file_size`` that the API last gave for an asset.
        :param aliases: ETags that name one version; None: none is known.
        :param known: the version that was found before; None: none was.
        """
        self._signed_get = signed_get
        self._reported = reported
        self._aliases = aliases or EtagAliases(signed_get.clock)
        self._known = known

    def probe(
        self,
        embed_code: str,
        deadline: Deadline,
        priority: Priority = Priority.WAITING,
        turn: Turn | None = None,
    ) -> SourceVersion:
        """The version of the source as it is now: the known one, where another ETag names it too.

        :param priority: of the API call, where a new URL is needed.
        :param turn: a turn of the rate limiter that was taken for that call already.
        :raises SourceMissing, SourceDenied, SourceGone: there is no source to be had.
        :raises BacklotError: it could not be found out now; see `SignedGet.read`.
        """
        reading = _FirstByte(embed_code, priority, turn)
        version = self._signed_get.read(embed_code, reading, deadline)
        version = self._known_or_new(self._aliases.seen(version, reading.headers), deadline)
        reported = self._reported(embed_code)
        if reported is not None and reported != version.size:
            events.SIZE_DIFFERS.log(
                log, embed_code=embed_code, size=version.size, api_size=reported
            )
        return version

    def _known_or_new(self, seen: SeenVersion, deadline: Deadline) -> SourceVersion:
        """The known version if the answer is of it by another ETag, else that of the answer."""
        found, known = seen.version, self._known(seen.version.embed_code)
        by_another_etag = known is not None and known.validator != found.validator
        if (
            known
            and by_another_etag
            and self._aliases.prove(self._signed_get, known, seen, deadline)
        ):
            return known
        self._aliases.found(seen)
        return found


class _FirstByte:
    """The `Reading` of a probe."""

    current: bool = True
    if_match: str | None = None
    new_connection: bool = False
    reached: int = 0
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, embed_code: str, priority: Priority, turn: Turn | None) -> None:
        self._embed_code = embed_code
        self.priority: Priority | None = priority
        self.turn = turn

    def wanted(self) -> ByteRange:
        return _FIRST_BYTE

    def take(self, answer: RangeAnswer) -> SourceVersion:
        self.headers = answer.headers
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
        aliases: EtagAliases | None = None,
        limit: BandwidthLimit | None = None,
        rate: RecentRate | None = None,
    ) -> None:
        """Put the parts together.

        :param aliases: ETags that name one version; None: none is known.
        :param limit: of the bandwidth.
        :param rate: counts the bytes that come.
        """
        self._signed_get = signed_get
        self.clock = clock
        self.aliases = aliases or EtagAliases(clock)
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
            while True:
                try:
                    return self._signed_get.read(version.embed_code, transfer, deadline)
                except ContentChanged:
                    other, transfer.other = transfer.other, None
                    if other is None:
                        raise
                    if not self.aliases.prove(self._signed_get, version, other, deadline):
                        raise
        except (SourceGone, SourceMissing) as error:  # it was there when the file was opened
            raise ContentChanged(str(error)) from None


@dataclass(slots=True)
class _Transfer:
    """The `Reading` of one `RangeReader.fetch`.

    :ivar reached: the first byte that was not delivered.
    :ivar other: the version of an answer that is not known to be of this one.
    """

    _owner: RangeReader
    _version: SourceVersion
    _sink: BufferSink
    _deadline: Deadline
    reached: int
    _stop: int
    if_match: str | None
    current: bool = False
    new_connection: bool = False
    other: SeenVersion | None = None
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
        self._check_version(answer, served.total)
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

    def _check_version(self, answer: RangeAnswer, total: int) -> None:
        """:raises ContentChanged: the answer is not known to be of this version."""
        code, aliases = self._version.embed_code, self._owner.aliases
        seen = aliases.seen(version_of(code, answer.headers, total), answer.headers)
        if not aliases.is_same(self._version, seen):
            self.other = seen
            raise ContentChanged(f"the source of {code} was replaced")

    def _keep_to(self, limit: BandwidthLimit, answer: RangeAnswer, size: int) -> None:
        """Pause as the bandwidth limit says; that makes neither the host slow nor the read late."""
        clock = self._owner.clock
        rest_s = limit.take(size, clock.monotonic(), urgent=self._sink.urgent)
        if rest_s > 0:
            clock.sleep(rest_s)
            answer.rested_s += rest_s
            self._deadline.extend(rest_s)
