# SPDX-License-Identifier: Apache-2.0
"""Decides which ETags of an asset name one version of its source.

Theory of operation. Several nodes behind one name serve the same object, and each may make its own
ETag, for example from the inode. Or one node sends ``W/"e"`` and the next ``"e"``. So another ETag
alone does not prove another version. But an answer with another ETag is never taken for the same
version without proof either. An answer that has the size of a version is of that version if

==============================  ==============================================================
the answer has                  and
==============================  ==============================================================
the same validator              nothing more (`SourceVersion.validator`)
the same ETag or date in        its date is *strong*, and so was the date of an earlier answer
another form (``W/``, quotes)   with exactly the validator of the version
another ETag, or none           its date is strong, and a *proof* has succeeded
==============================  ==============================================================

Every other answer is of another version. A date is strong (RFC 9110 §8.8.2.2) if ``Last-Modified``
is that of the version, and at least 60 s older than the ``Date`` of the answer and than our clock.
Such an answer was sent after the second that ``Last-Modified`` names. So nobody can have replaced
the object within that second between two such answers.

A proof is a number of small GETs without ``If-Match``, after an answer with the other ETag. The
ETag of the version has to come *again*, which shows that the source did not change to another
version for good. Answers with either ETag have to send the same bytes at the beginning, in the
middle, at the end and in two more places, which are places of cached bytes if there are any. All
dates have to be strong. A file of up to `WHOLE_BYTES` is compared as a whole. Further ETags that
come meanwhile are proven in the same proof, so a host of many nodes needs one proof.

The keys of the blocks keep the version that was found first. The other ETags are kept in memory
only, so each mount proves them again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cachetools import LRUCache, TTLCache

from backlotfs.api.rate_limiter import Priority, Turn, http_date_s
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.single_flight import SingleFlight
from backlotfs.config.time_limits import SMALL_BODY_S
from backlotfs.errors import (
    ContentChanged,
    DeadlineExceeded,
    InvalidRangeResponse,
    RemoteUnavailable,
)
from backlotfs.http.pool import RangeAnswer
from backlotfs.http.range_checks import MAX_SKIP_BYTES, answered_range, bytes_before
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.version import SourceVersion, version_of

#: A strong ``Last-Modified`` is at least this many seconds older than the answer.
STRONG_AFTER_S = 60.0
#: A file of at most this size is compared as a whole, else `PLACES` of `PLACE_BYTES`.
WHOLE_BYTES = 64 * 1024
PLACE_BYTES = 16 * 1024
PLACES = 5
#: Most GETs of a proof, for each ETag that has come. If a host answers with any of eight ETags, a
#: proof of all takes about 110 GETs, and at most 192.
GETS_PER_NAME = 24
#: Most ETags of one version. A host that makes a new ETag for each answer never repeats one.
MOST_NAMES = 8
#: Longest wait for the proof of another reader.
LONGEST_PROOF_S = 600.0
#: A proof that failed is not tried again for this long.
FAILED_TTL_S = 30.0
#: Most assets with proven ETags, and most strongly dated versions, that are remembered.
MOST_PROVEN, MOST_DATED = 50_000, 10_000

#: A `SourceVersion.validator`: the ETag, or the date if there is no ETag (both if it is weak), and
#: the size.
Validator = str
#: Gives cached bytes of a version, by their place. The two numbers: how many places at most, and
#: how many bytes of each at most.
CachedSample = Callable[[SourceVersion, int, int], Mapping[ByteRange, bytes]]


class SeenVersion(NamedTuple):
    """The version that the headers of one answer describe.

    :ivar strongly_dated: whether its ``Last-Modified`` is strong.
    """

    version: SourceVersion
    strongly_dated: bool


class _Proven(NamedTuple):
    """Validators of one asset that name the same version, and the date of that version."""

    modified_s: int | None
    validators: frozenset[Validator]


def _nothing_cached(
    _version: SourceVersion, _places: int, _length: int
) -> Mapping[ByteRange, bytes]:
    return {}


class EtagAliases:
    """Remembers the ETags that name one version. Any thread may call it.

    :ivar cached: gives some cached bytes of a version; set by the mount.
    """

    def __init__(self, clock: Clock) -> None:
        self.cached: CachedSample = _nothing_cached
        self._clock = clock
        self._lock = threading.Lock()
        self._proofs: SingleFlight[tuple[str, Validator], bool] = SingleFlight()
        self._proven: LRUCache[str, _Proven] = LRUCache(MOST_PROVEN)
        self._dated: LRUCache[str, Validator] = LRUCache(MOST_DATED)
        # the last part of a key is the other validator; None stands for every other validator
        self._failed: TTLCache[tuple[str, Validator, Validator | None], bool] = TTLCache(
            MOST_DATED, FAILED_TTL_S, timer=clock.monotonic
        )

    def seen(self, version: SourceVersion, headers: Mapping[str, str]) -> SeenVersion:
        """Describe an answer by its version and its headers (names in lower case)."""
        modified_s, date_s = version.last_modified_s, http_date_s(headers.get("date"))
        if modified_s is None or date_s is None:
            return SeenVersion(version, strongly_dated=False)
        # also by our clock, because the clock of the host may be ahead
        age_s = min(date_s, self._clock.now()) - modified_s
        return SeenVersion(version, age_s >= STRONG_AFTER_S)

    def record_probe(self, seen: SeenVersion) -> None:
        """Remember the version that an answer showed, if that answer was strongly dated."""
        if seen.strongly_dated:
            with self._lock:
                self._dated[seen.version.embed_code] = seen.version.validator

    def is_same(self, version: SourceVersion, seen: SeenVersion) -> bool:
        """Whether an answer is known to be of ``version``; makes no GET."""
        if seen.version.validator == version.validator:
            return True
        if not _comparable(version, seen):
            return False
        if seen.version.opaque_tag == version.opaque_tag:
            with self._lock:
                if self._dated.get(version.embed_code) == version.validator:
                    return True
        return self.are_proven(version, seen.version)

    def are_proven(self, one: SourceVersion, other: SourceVersion) -> bool:
        """Whether a proof has found that the validators of both name one version."""
        if one.last_modified_s != other.last_modified_s:
            return False
        return other.validator in self._names(one) - {one.validator}

    def prove(
        self, get: SignedGet, version: SourceVersion, seen: SeenVersion, deadline: Deadline
    ) -> bool:
        """Find out whether an answer is of ``version``, by GETs if need be.

        :raises BacklotError: it could not be found out now; see `SignedGet.read`.
        """
        key = (version.embed_code, version.validator)
        while not self.is_same(version, seen):
            if not _comparable(version, seen) or self._has_failed(version, seen):
                return False
            flight, ours = self._proofs.join(key)
            if ours:
                self._proofs.fly(key, lambda: self._prove(get, version, seen, deadline))
            try:
                found = flight.result(min(deadline.remaining_s(), LONGEST_PROOF_S))
                if ours:
                    return found  # the proof of another caller may be about another ETag
            except TimeoutError:
                raise DeadlineExceeded(
                    f"the ETags of {version.embed_code} were not compared in time"
                ) from None
            except DeadlineExceeded:
                if ours or deadline.expired:
                    raise  # otherwise the deadline of the proving caller has passed, not ours
        return True

    def _prove(
        self, get: SignedGet, version: SourceVersion, seen: SeenVersion, deadline: Deadline
    ) -> bool:
        if self.is_same(version, seen) or not version.size:  # a proof may have just ended
            return True
        if self._has_failed(version, seen):
            return False
        names = self._names(version)
        other = seen.version.validator
        proof = _Proof(version, names, other, self.cached)
        try:
            while proof.open and len(names) < MOST_NAMES:
                sample = _Sample(self, version.embed_code, *proof.next())
                proof.add(*get.read(version.embed_code, sample, deadline))
        finally:  # also after a time limit, keep what was proven before
            if proof.proven:
                with self._lock:
                    proven = _Proven(version.last_modified_s, names | proof.proven)
                    self._proven[version.embed_code] = proven
        if other not in proof.proven:
            key = (version.embed_code, version.validator, None if proof.endless else other)
            with self._lock:
                self._failed[key] = True
        return other in proof.proven

    def _names(self, version: SourceVersion) -> frozenset[Validator]:
        """All validators that are known to name ``version``."""
        with self._lock:
            proven = self._proven.get(version.embed_code)
        if proven is None or proven.modified_s != version.last_modified_s:
            return frozenset({version.validator})
        known = proven.validators
        return known if version.validator in known else frozenset({version.validator})

    def _has_failed(self, version: SourceVersion, seen: SeenVersion) -> bool:
        key = version.embed_code, version.validator
        with self._lock:
            return (*key, seen.version.validator) in self._failed or (*key, None) in self._failed


def _comparable(version: SourceVersion, seen: SeenVersion) -> bool:
    """Whether size and date allow that an answer is of ``version``."""
    return (
        seen.strongly_dated
        and seen.version.size == version.size
        and seen.version.last_modified_s == version.last_modified_s
    )


#: In the rows of a proof, stands for all validators that are known to name the version.
_OURS: Validator = ""


class _Proof:
    """The samples of one proof, and the choice of the next sample. Belongs to one thread.

    :ivar open: whether another sample is needed.
    :ivar proven: the other validators that are proven so far.
    :ivar endless: whether too many validators came, as from a host that makes one for each answer.
    """

    def __init__(
        self,
        version: SourceVersion,
        names: frozenset[Validator],
        other: Validator,
        cached: CachedSample,
    ) -> None:
        """Compare answers that have the validator ``other`` with those that have one of ``names``.

        All of ``names`` name ``version``.
        """
        self.open = True
        self.endless = False
        self.proven: frozenset[Validator] = frozenset()
        self._version = version
        self._names = names
        self._bytes_at: dict[ByteRange, bytes] = {}
        if version.size > WHOLE_BYTES:
            self._bytes_at.update(cached(version, PLACES - 3, PLACE_BYTES))
        self._places = _places(version.size, set(self._bytes_at))
        #: The places whose bytes have come under each name.
        self._rows: dict[Validator, set[ByteRange]] = {_OURS: set(self._bytes_at), other: set()}
        self._before_ours: set[Validator] = set()  # names after which one of ours came
        self._gets = 0
        self._last = other
        self._follows: dict[Validator, Validator] = {}  # nodes often take turns
        self._wasted = False

    def next(self) -> tuple[ByteRange, bool]:
        """The place to ask for next, and whether over a new connection."""
        expected = self._rows[self._follows.get(self._last, _OURS)]

        def need(place: ByteRange) -> tuple[bool, int]:
            return place not in expected, sum(place not in row for row in self._rows.values())

        # the node may depend on the connection or the address: leave one that brings nothing new
        return max(self._places, key=need), self._wasted

    def add(self, place: ByteRange, seen: SeenVersion, data: bytes) -> None:
        """Compare one answer."""
        self._gets += 1
        known = self._bytes_at.setdefault(place, data)
        if not _comparable(self._version, seen) or known != data:
            self.open, self.proven = False, frozenset()
            return
        name = _OURS if seen.version.validator in self._names else seen.version.validator
        row = self._rows.setdefault(name, set())
        self._wasted = place in row and not (name == _OURS and not self._before_ours)
        row.add(place)
        self._follows[self._last] = name
        self._last = name
        if name == _OURS:
            self._before_ours.update(self._rows)
        complete = {one for one, row in self._rows.items() if row.issuperset(self._places)}
        others = len(self._rows) - 1
        self.endless = len(self._names) + others > MOST_NAMES
        spent = self._gets >= GETS_PER_NAME * (others + bool(self._before_ours))
        complete &= self._before_ours
        self.open = not (complete.issuperset(self._rows) or spent or self.endless)
        self.proven = frozenset(complete - {_OURS} if _OURS in complete else ())


#: The generator of the system, so that neither a seed nor a fork determines what is compared.
_RANDOM = random.SystemRandom()


def _places(size: int, cached: set[ByteRange]) -> list[ByteRange]:
    """The places to compare: a small file as a whole, else `PLACES` with the cached ones."""
    if size <= WHOLE_BYTES:
        return [ByteRange(0, size)]
    last = size - PLACE_BYTES
    starts = [0, last // 2, last]
    chosen = [ByteRange(start, start + PLACE_BYTES) for start in starts]
    chosen += cached
    while len(chosen) < PLACES:
        start = _RANDOM.randrange(last + 1)  # a host cannot predict it
        chosen.append(ByteRange(start, start + PLACE_BYTES))
    return chosen


@dataclass(slots=True)
class _Sample:
    """The `Reading` of one GET of a proof."""

    _aliases: EtagAliases
    _embed_code: str
    _place: ByteRange
    new_connection: bool
    current: bool = True  # an older URL may still give a replaced object
    if_match: str | None = None
    priority: Priority | None = None
    turn: Turn | None = None
    reached: int = 0

    def wanted(self) -> ByteRange:
        return self._place

    def take(self, answer: RangeAnswer) -> tuple[ByteRange, SeenVersion, bytes]:
        if answer.status == 416:
            raise ContentChanged(f"the source of {self._embed_code} has shrunk (416)")
        held = answered_range(answer.status, answer.headers)
        before = bytes_before(held.place, self._place)
        if held.total is None or before > MAX_SKIP_BYTES:
            raise InvalidRangeResponse("its ETags cannot be compared")
        seen = version_of(self._embed_code, answer.headers, held.total)
        if before:
            answer.skip(before, SMALL_BODY_S)
        data = answer.read(min(self._place.stop, held.place.stop) - self._place.start)
        if len(data) < self._place.length and held.total >= self._place.stop:
            raise RemoteUnavailable(f"source host {answer.host}: the body ended early")
        return self._place, self._aliases.seen(seen, answer.headers), data
