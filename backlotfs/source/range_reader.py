# SPDX-License-Identifier: Apache-2.0
"""Reads a source: finds its version, and fetches ranges of a version. Each answer is validated.

A GET that breaks is resumed at the byte it reached. Delivered bytes are not fetched again, because
each answer was checked before its bytes were delivered: its version, its place, its length and its
encoding (`http.range_checks`).

An answer need not be exactly the wanted range:

- It may be shorter. Then the missing bytes are asked for.
- It may begin earlier, such as that of a host that knows no ranges and sends the whole object
  (200). Then the bytes before the wanted ones are received and dropped, up to `MAX_SKIP_BYTES`.
- It may end later. Then the connection is closed after the wanted bytes.

The API's ``file_size`` may disagree with the object; then ``Content-Range`` wins. ``file_size``
decides if the host does not say the size, or if the answer may not be the source: a 200, a longer
range, or an unknown word in ``Content-Encoding``. The GETs of a probe go to the source host and
cost no API credit. Their URL may cost one, and is kept for the reads that follow.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from cachetools import LRUCache

from backlotfs.api.rate_limiter import Priority, Turn
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.time_limits import STALL_TIMEOUT_S
from backlotfs.errors import (
    BacklotError,
    ContentChanged,
    InvalidRangeResponse,
    RangesUnsupported,
    RemoteUnavailable,
    SourceGone,
    SourceMissing,
)
from backlotfs.http.backoff import TryAgain
from backlotfs.http.pool import ERROR_BODY_BYTES, RangeAnswer, parse_s3_error, small_body
from backlotfs.http.range_checks import (
    MAX_OBJECT_BYTES,
    MAX_SKIP_BYTES,
    AnsweredRange,
    answered_range,
    bytes_before,
    unsatisfied_total,
)
from backlotfs.log import events
from backlotfs.source.bandwidth import BandwidthLimit, RecentRate
from backlotfs.source.etag_aliases import EtagAliases, SeenVersion
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.version import SourceVersion, version_of

log = logging.getLogger(__name__)

_FIRST_BYTE, _NO_BYTES = ByteRange(0, 1), ByteRange(0, 0)
_NO_SIZE = "it does not say how long the source is"
#: The ``file_size`` that the API last gave for an asset, or None.
Reported = Callable[[str], int | None]


class SourceProbe:
    """Asks source hosts which version of a source they have. Any thread may call it."""

    def __init__(
        self,
        signed_get: SignedGet,
        reported: Reported = lambda _code: None,
        *,
        aliases: EtagAliases | None = None,
        known: Callable[[str], SourceVersion | None] = lambda _code: None,
    ) -> None:
        """Put the parts together.

        :param reported: gives the API's ``file_size``, for a host that does not say the size.
        :param aliases: ETags that name one version; None: none is known.
        :param known: gives the version that was found before, or None.
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
        """The present version of the source; the known version if the new ETag names the same one.

        :param priority: of the API call, where a new URL is needed.
        :param turn: a turn of the rate limiter that was taken for that call already.
        :raises SourceMissing, SourceDenied, SourceGone: there is no source that can be read.
        :raises BacklotError: it could not be found out now; see `SignedGet.read`.
        """
        reading = _SizeAndVersion(embed_code, priority, turn, self._reported)
        version = self._signed_get.read(embed_code, reading, deadline)
        version = self._known_or_new(self._aliases.seen(version, reading.headers), deadline)
        reported = self._reported(embed_code)
        if reported is not None and reported != version.size:
            events.SIZE_DIFFERS.log(
                log, embed_code=embed_code, size=version.size, api_size=reported
            )
        return version

    def _known_or_new(self, seen: SeenVersion, deadline: Deadline) -> SourceVersion:
        """The known version if the answer's other ETag names it, else the answer's version."""
        found, known = seen.version, self._known(seen.version.embed_code)
        is_other = known is not None and known.validator != found.validator
        if known and is_other and self._aliases.prove(self._signed_get, known, seen, deadline):
            return known
        self._aliases.record_probe(seen)
        return found


class _SizeAndVersion:
    """The `Reading` of a probe: it asks for the first byte of the source.

    If the host does not say the size, the byte behind the API's ``file_size`` has to be missing
    (416). If this 416 does not say the size either, the last byte has to exist in the same version.
    """

    current: bool = True
    if_match: str | None = None
    new_connection: bool = False
    reached: int = 0
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, embed_code: str, priority: Priority, turn: Turn | None, reported: Reported
    ) -> None:
        self._embed_code = embed_code
        self.priority: Priority | None = priority
        self.turn = turn
        self._reported = reported
        self._asks = _FIRST_BYTE
        self._unproven: SourceVersion | None = None

    def wanted(self) -> ByteRange:
        return self._asks

    def take(self, answer: RangeAnswer) -> SourceVersion:
        version, self.headers = self._unproven, answer.headers
        try:
            if version is None:
                return self._first_byte(answer)
            if self._asks.start == version.size:
                return self._behind_the_end(answer, version)
            return self._last_byte(answer, version)
        except BacklotError:
            self._asks, self._unproven = _FIRST_BYTE, None
            raise

    def _first_byte(self, answer: RangeAnswer) -> SourceVersion:
        reported = self._reported(self._embed_code)
        if answer.status == 416:
            sizes = _sizes_of_416(answer)
            if sizes - {0} or (not sizes and reported):
                raise InvalidRangeResponse(
                    f"416 for the first of {max(sizes, default=reported)} bytes"
                )
            return version_of(self._embed_code, answer.headers, 0)
        held = answered_range(answer.status, answer.headers)
        size = held.total
        if not size and (not held.place.length or answer.status == 200):
            size = _counted(answer, held, reported)
        is_usual = answer.status == 206 and held.place in (_FIRST_BYTE, _NO_BYTES)
        if size != reported and (not is_usual or held.doubt):
            _check_source(answer, size, reported, held.doubt)
        if size != 0:
            _leave(answer, held, _FIRST_BYTE)
        if size is not None:
            return version_of(self._embed_code, answer.headers, size)
        if not reported:
            raise InvalidRangeResponse(_NO_SIZE)
        self._unproven = version_of(self._embed_code, answer.headers, reported)
        self._asks = ByteRange(reported, reported + 1)
        raise TryAgain

    def _behind_the_end(self, answer: RangeAnswer, version: SourceVersion) -> SourceVersion:
        sizes = _sizes_of_416(answer) if answer.status == 416 else {0}
        if sizes - {version.size}:
            raise InvalidRangeResponse(f"{_NO_SIZE}, and does not confirm {version.size} bytes")
        if sizes:
            return version
        self._asks = ByteRange(version.size - 1, version.size)
        raise TryAgain

    def _last_byte(self, answer: RangeAnswer, version: SourceVersion) -> SourceVersion:
        held = answered_range(answer.status, answer.headers)
        _leave(answer, held, self._asks)
        try:
            version.verify(answer.headers, held.total or version.size)
        except ContentChanged as error:
            raise InvalidRangeResponse(str(error)) from None
        return version


def _counted(answer: RangeAnswer, held: AnsweredRange, reported: int | None) -> int:
    """The size of a source whose host sends all of it and does not say how long it is.

    If the API gives a ``file_size`` of at most `MAX_SKIP_BYTES`, the bytes are counted. A host
    without ranges cannot serve more.

    :raises InvalidRangeResponse: the size is not certain.
    :raises RemoteUnavailable: the source is shorter than ``file_size``.
    """
    if not answer.read(1):
        return 0
    is_all = answer.status == 200 and held.place.stop == MAX_OBJECT_BYTES
    named = answer.headers.keys() & {"etag", "last-modified"}
    if not (is_all and named and reported and reported <= MAX_SKIP_BYTES):
        raise InvalidRangeResponse(_NO_SIZE)
    if reported > 1:
        answer.skip(reported - 1, STALL_TIMEOUT_S)
    if answer.read(1):
        raise InvalidRangeResponse(f"status 200 and more bytes than the API says ({reported})")
    return reported


def _sizes_of_416(answer: RangeAnswer) -> set[int]:
    """The sizes that a 416 names in its head and in S3's error document."""
    named = unsatisfied_total(answer.headers)
    actual = parse_s3_error(small_body(answer, ERROR_BODY_BYTES)).actual_size
    return {size for size in (named, actual) if size is not None}


def _check_source(answer: RangeAnswer, size: int | None, reported: int | None, doubt: str) -> None:
    """Refuse an unusual answer whose size is not the API's, because it may not be the source.

    For example, a 200 may be a page of a proxy. If the API says no size, the answer has to have
    ``Content-Length``, a validator and no doubtful encoding: a page lacks one of the first two.
    """
    named = answer.headers.keys() & {"etag", "last-modified", "content-length"}
    if doubt or reported is not None or len(named) < 2 or "content-length" not in named:
        what = _bytes(size) + (f" in encoding {doubt!r}" if doubt else "")
        raise InvalidRangeResponse(
            f"status {answer.status} and {what}, but the API says {_bytes(reported)}"
        )


def _bytes(count: int | None) -> str:
    return "no size" if count is None else f"{count} bytes"


def _leave(answer: RangeAnswer, held: AnsweredRange, asked: ByteRange) -> None:
    """Check the place of a probe's answer. Read a short body, so that the connection is kept."""
    bytes_before(held.place, asked)
    if held.place.length <= ERROR_BODY_BYTES:
        small_body(answer, ERROR_BODY_BYTES)


class BufferSink(Protocol):
    """Takes the bytes of a fetch."""

    def buffers(self) -> Sequence[memoryview]:
        """Memory for the next bytes, in order, for no more bytes than are missing.

        It begins with the bytes that the last `commit` did not keep. It is called again for each
        receive, also after a cut. It may raise a `BacklotError`, which ends the read.
        """

    def commit(self, size: int) -> int:
        """Take the first ``size`` bytes of the last `buffers`, which are filled.

        :return: how many of them are kept; the others stay in the memory.
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
        :param limit: limits the bandwidth; None: no limit.
        :param rate: counts the received bytes; None: a count that nobody reads.
        """
        self._signed_get = signed_get
        self.clock = clock
        self.aliases = aliases or EtagAliases(clock)
        self.limit = limit
        self.rate = rate or RecentRate(clock)
        self.without_ranges = HostsWithoutRanges()

    def fetch(
        self, version: SourceVersion, wanted: ByteRange, sink: BufferSink, deadline: Deadline
    ) -> None:
        """Deliver ``wanted`` to ``sink``.

        :param wanted: inside ``version.size``, not empty.
        :raises ContentChanged: the host has another version, or the source is gone.
        :raises InvalidRangeResponse: the host keeps answering with something else.
        :raises RemoteUnavailable: all attempts failed. :raises DeadlineExceeded: no time is left.
        """
        transfer = _Transfer(
            self, version, sink, deadline, wanted.start, wanted.stop, version.strong_etag
        )
        if wanted.stop > version.size:
            raise InvalidRangeResponse(f"bytes behind the end of {version.embed_code} are wanted")
        try:
            while True:
                try:
                    return self._signed_get.read(version.embed_code, transfer, deadline)
                except ContentChanged:
                    other, transfer.other = transfer.other, None
                    if other is None:
                        raise
                    if not self._prove(version, other, deadline):
                        raise
        except (SourceGone, SourceMissing) as error:  # it was there when the file was opened
            raise ContentChanged(str(error)) from None

    def _prove(self, version: SourceVersion, other: SeenVersion, deadline: Deadline) -> bool:
        """Whether an answer with another ETag is of ``version``; False if it is not comparable."""
        try:
            return self.aliases.prove(self._signed_get, version, other, deadline)
        except InvalidRangeResponse:
            return False


class HostsWithoutRanges:
    """Hosts that answer every range with the whole object. Any thread may call it.

    One server of many may do so once, so the host is asked again. After `TRIES` such answers in a
    row, the host is remembered: each further read makes only one GET, until the host answers a
    range.
    """

    #: Answers in a row after which a host is remembered.
    TRIES = 3
    _HOSTS = 256

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: LRUCache[str, int] = LRUCache(self._HOSTS)

    def refusal(self, host: str) -> InvalidRangeResponse:
        """Count one more such answer of a host, and return the error to raise for it."""
        with self._lock:
            count = self._answers.get(host, 0) + 1
            self._answers[host] = count
        limit = f"{MAX_SKIP_BYTES >> 20} MiB"
        return (InvalidRangeResponse if count < self.TRIES else RangesUnsupported)(
            f"it does not answer ranges, so that only the first {limit} of a source can be read;"
            " let it answer them (Accept-Ranges: bytes)"
        )

    def forget(self, host: str) -> None:
        """Note that a host has answered a range."""
        if self._answers:
            with self._lock:
                self._answers.pop(host, None)


@dataclass(slots=True)
class _Transfer:
    """The `Reading` of one `RangeReader.fetch`.

    :ivar reached: the first byte that has not come.
    :ivar other: the version of an answer that is not known to be our version; None: no such answer.
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
    #: Number of bytes at the beginning of the views that were received, but that the sink did not
    #: keep, because an answer that was shorter than asked for ended there.
    _uncommitted: int = 0

    def wanted(self) -> ByteRange:
        # raises if nobody wants the bytes any more; then no GET is made
        self._views = self._sink.buffers()
        return ByteRange(self.reached, self._stop)

    def take(self, answer: RangeAnswer) -> None:
        wanted = ByteRange(self.reached, self._stop)
        if answer.status == 416:
            self._check_416(answer)
        held = answered_range(answer.status, answer.headers)
        self._verify(answer, held, wanted)
        before = bytes_before(held.place, wanted)
        if before > MAX_SKIP_BYTES:
            raise self._owner.without_ranges.refusal(answer.host)
        if answer.status == 206:
            self._owner.without_ranges.forget(answer.host)
        if before:
            answer.skip(before, self._deadline.remaining_s())
            self._owner.rate.add(before)
            if self._owner.limit is not None:
                self._pause(answer, before, self._owner.limit)
        self._receive(answer, min(held.place.stop, self._stop))
        if self.reached < self._stop:
            raise TryAgain  # the answer was complete but short: ask for the missing bytes

    def _check_416(self, answer: RangeAnswer) -> None:
        """Raise the error for a 416 to a range that is inside the known size.

        :raises InvalidRangeResponse: the host says the same size, so the 416 is wrong.
        :raises ContentChanged: the host says another size, or none.
        """
        if unsatisfied_total(answer.headers) == self._version.size:
            raise InvalidRangeResponse(f"416 for a range inside {self._version.size} bytes")
        raise ContentChanged(f"the source of {self._version.embed_code} has shrunk (416)")

    def _verify(self, answer: RangeAnswer, held: AnsweredRange, wanted: ByteRange) -> None:
        """Check that the answer is of our version.

        It has to show its version, unless it is a 206 that says the size of the object and has all
        wanted bytes that the object has.

        :raises ContentChanged: the answer is not known to be of our version.
        :raises InvalidRangeResponse: the answer shows no version: a 200 may be a page of a proxy.
        """
        version, aliases, headers = self._version, self._owner.aliases, answer.headers
        if (
            answer.status == 206
            and held.place == wanted
            and held.total == version.size
            and headers.get("etag") == version.etag
            and headers.get("last-modified") == version.last_modified
        ):
            return  # nearly always
        total = version.size if held.total is None else held.total
        found = version_of(version.embed_code, headers, total)
        is_usual = answer.status == 206 and held.place == wanted.clamped(total)
        if not is_usual or held.total is None:
            ours, theirs = (
                one.etag if version.etag else one.last_modified for one in (version, found)
            )
            if not theirs and (ours or held.total is None):
                raise InvalidRangeResponse("nothing in it shows the version of the source")
            if theirs == ours and total != version.size:
                raise InvalidRangeResponse(f"the object has {total} bytes, not {version.size}")
            behind = answer.status == 206 and held.place.stop > version.size
            if held.total is None and (held.doubt or behind):
                raise InvalidRangeResponse(_NO_SIZE)
        if found.validator == version.validator:
            return
        seen = aliases.seen(found, headers)
        if not aliases.is_same(version, seen):
            self.other = seen
            raise ContentChanged(f"the source of {version.embed_code} was replaced")

    def _receive(self, answer: RangeAnswer, stop: int) -> None:
        """Deliver the body of an answer up to ``stop``, and read no further."""
        while True:
            views = self._views
            if self._uncommitted or stop < self._stop:
                views = _part(views, self._uncommitted, stop - self.reached)
            size = sum(map(len, views))
            got = answer.read_into(views, self._deadline.remaining_s())
            self._owner.rate.add(got)  # before `commit` passes the bytes to a reader
            kept = self._sink.commit(self._uncommitted + got)
            if got != size:
                if kept:  # received bytes that were not kept are asked for again
                    self.reached += kept - self._uncommitted
                    self._uncommitted = 0
                raise RemoteUnavailable(f"source host {answer.host}: the body ended early")
            self.reached += got
            self._uncommitted += got - kept
            if self._owner.limit is not None:
                self._pause(answer, size, self._owner.limit)
            if self.reached >= stop:
                return
            self._deadline.check(f"read of {self._version.embed_code}")
            self._views = self._sink.buffers()

    def _pause(self, answer: RangeAnswer, size: int, limit: BandwidthLimit) -> None:
        """Pause after ``size`` received bytes as the bandwidth limit says.

        The pause counts neither as time of the host nor towards the deadline.
        """
        clock = self._owner.clock
        rest_s = limit.take(size, clock.monotonic(), urgent=self._sink.urgent)
        if rest_s > 0:
            clock.sleep(rest_s)
            answer.rested_s += rest_s
            self._deadline.extend(rest_s)


def _part(views: Sequence[memoryview], start: int, length: int) -> Sequence[memoryview]:
    """``length`` bytes of ``views`` from ``start`` on, or as many as there are."""
    part: list[memoryview] = []
    for view in views:
        taken = view[start : start + length]
        start = max(0, start - len(view))
        length -= len(taken)
        if taken:
            part.append(taken)
    return part
