# SPDX-License-Identifier: Apache-2.0
"""Makes GETs on the source of an asset by embed code; renews URLs, follows redirects, retries.

Theory of operation. A URL is resolved, a GET is sent, and the head of the answer decides:

========================  ==========================================================
200, 206, 416             the caller's `Reading` validates and uses the answer
403 or 401, "expired"     the URL is dropped and resolved again, `MAX_EXPIRED` times at most
400 "expired"             the same: S3 answers this way if the token of a session has expired
403 or 401, other         resolved again once, then `SourceDenied`; tried again like a 503 if the
                          body, which says why, does not come
404, 410                  resolved again once, then `SourceGone`
412; 400 other and 501    asked again without ``If-Match``: the caller compares the versions; a
to ``If-Match``           host that then sends the bytes gets no ``If-Match`` any more
408, 425, 429, 500, 502,  tried again after a backoff, as long as attempts and time are left; not
503, 504                  before ``Retry-After``, and not at all if that is after the deadline; a
                          429 or 503 of a host that meanwhile sent bytes for another GET is no
                          attempt, because the host only limits how many it answers at once
301, 302, 303, 307, 308   followed if `RedirectChain` allows it, else its error is raised
anything else             `InvalidRangeResponse`
========================  ==========================================================

These are also tried again like a 503: a failure of the connection, an API that gives no URL now, a
body that ends early, and an `InvalidRangeResponse`, because only one of several servers may answer
wrongly. A host to which no connection can be made is asked once a second only
(`http.circuit_breaker`). Two errors are raised at once. `HostBusy`: the host has no free place, and
the caller tries again later (`source.host_shares`). `SourceRefused`: our policy forbids an address
or a redirect, so another attempt would be refused, too.

All of it is one loop, `http.backoff.Backoff.run`. A URL can expire while a request waits (some are
valid for seconds only), so "expired" is normal, and is counted apart from failures.

A `GetMeter` is called at the beginning of each GET, and at its end with one `GetRecord`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from backlotfs.api.rate_limiter import Priority, Turn, http_date_s, retry_after_header_s
from backlotfs.api.records import SignedUrl
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import (
    CircuitOpen,
    ContentChanged,
    DeadlineExceeded,
    Interrupted,
    InvalidRangeResponse,
    ProtocolViolation,
    RemoteUnavailable,
    SourceDenied,
    SourceGone,
)
from backlotfs.http.address_policy import SourcePolicy, SourceRefused, plain_host
from backlotfs.http.backoff import Backoff, RetryPolicy, TryAgain
from backlotfs.http.exchange import Exchange
from backlotfs.http.pool import (
    ERROR_BODY_BYTES,
    ConnectionPool,
    RangeAnswer,
    S3Error,
    origin_of,
    parse_s3_error,
    small_body,
)
from backlotfs.source.host_shares import HostShares

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
#: Most "expired" answers in a row; one more means that a clock or the server is wrong.
MAX_EXPIRED = 5
#: Redirects followed for one GET.
MAX_REDIRECTS = 5
#: Hosts without ``If-Match`` that are remembered.
MOST_HOSTS = 1000
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
#: Statuses of a host that cannot answer the request now.
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class Outcome(enum.Enum):
    """How a GET ended."""

    #: All wanted bytes of the answer have come.
    WHOLE = "whole"
    #: We ended it: nobody wanted more bytes, another GET was faster, or no connection was tried.
    DROPPED = "dropped"
    #: The host asked for fewer requests: 429, 503.
    OVERLOADED = "overloaded"
    #: The connection or the host failed: reset, ended early, stalled, refused.
    CUT = "cut"
    #: The answer says nothing about the connection: expired, gone, changed, invalid.
    REFUSED = "refused"


class GetRecord(NamedTuple):
    """One GET, from the search for a connection to the last byte.

    :ivar host: name of the host that answered; empty if no answer came.
    :ivar embed_code: of the asset whose source it is.
    :ivar new_connection: whether a connection was made for it; also True if no answer came.
    :ivar started_s: on the monotonic clock.
    :ivar first_byte_s: from ``started_s`` to the head of the answer, and the time to skip the bytes
        before the wanted ones; None if no answer came.
    :ivar seconds: from ``started_s`` to the end, without the pauses for ``--bwlimit``.
    :ivar received_bytes: of the body, without the skipped bytes.
    """

    host: str
    embed_code: str
    new_connection: bool
    started_s: float
    first_byte_s: float | None
    seconds: float
    received_bytes: int
    outcome: Outcome


class GetMeter(Protocol):
    """Is called for every GET, in the thread of the GET; takes little time, and raises nothing."""

    def began(self, embed_code: str, now_s: float) -> None:
        """A GET begins; exactly one call of `ended` follows."""

    def ended(self, record: GetRecord) -> None:
        """The GET has ended, with or without success."""


class UrlSource(Protocol):
    """Gives the signed URLs of sources: `UrlResolver` in a mount, other classes elsewhere.

    The others get the URLs from a mount (`mount.direct`) or from a task (`cluster.worker`).
    """

    def resolve(
        self,
        embed_code: str,
        deadline: Deadline,
        *,
        current: bool = False,
        priority: Priority | None = None,
        turn: Turn | None = None,
    ) -> SignedUrl:
        """A URL that can be used now. :raises BacklotError: there is none."""

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        """Forget ``url``, which a host did not accept, if it is still the one in use."""


#: Statuses of a host that gets too many requests.
OVERLOADED_STATUSES = frozenset({429, 503})


def _outcome_of(error: BaseException) -> Outcome:
    """The outcome of a GET that ended with this error."""
    if isinstance(error, TryAgain):  # its `Reading` asks for more
        return Outcome.WHOLE
    if isinstance(error, CircuitOpen | Interrupted):
        return Outcome.DROPPED
    if isinstance(error, ProtocolViolation | ContentChanged | SourceRefused):
        return Outcome.REFUSED
    return Outcome.CUT


class Reading(Protocol[T_co]):
    """What one operation asks of a source, and what it does with the answer.

    :ivar current: whether the URL must have been given after the record was last touched.
    :ivar priority: of the API call for a new URL; None: that of a reader.
    :ivar turn: a turn of the rate limiter that was taken for that call already.
    :ivar if_match: a strong ETag that the object must still have.
    :ivar new_connection: whether the next GET uses a new connection, perhaps to another node.
    :ivar reached: grows with the received bytes. If it grew during a GET, earlier failures no
        longer count.
    """

    current: bool
    priority: Priority | None
    turn: Turn | None
    if_match: str | None
    new_connection: bool
    reached: int

    def wanted(self) -> ByteRange:
        """The bytes to ask for; called before each GET. An error that it raises ends the read."""

    def take(self, answer: RangeAnswer) -> T_co:
        """Use the open answer, which has the status 200, 206 or 416 and an unread body.

        If this raises a transient error, another GET follows; after `TryAgain`, it follows at once.
        The text of an `InvalidRangeResponse` says only what is wrong: host and source are added.
        """


class SignedGet:
    """Makes ranged GETs on sources by embed code. Any thread may call it."""

    def __init__(
        self,
        resolver: UrlSource,
        pool: ConnectionPool,
        clock: Clock,
        retry: RetryPolicy,
        *,
        policy: SourcePolicy,
        meter: GetMeter,
        shares: HostShares | None = None,
    ) -> None:
        """Put the parts together.

        :param policy: decides to which other hosts a redirect may lead.
        :param meter: is called for every GET.
        :param shares: limits how many GETs may be under way at each host; None: no limit.
        """
        self.resolver = resolver
        self.pool = pool
        self.clock = clock
        self.retry = retry
        self.policy = policy
        self.meter = meter
        self.shares = shares
        self.without_if_match: set[str] = set()  # hosts and ports that refuse their own ETags
        self.served_at_s: dict[str, float] = {}  # when each host last answered a GET whole

    def read(self, embed_code: str, reading: Reading[T], deadline: Deadline) -> T:
        """Make a GET of the bytes that ``reading`` wants; return what it makes of the answer.

        :raises SourceMissing, SourceDenied, SourceGone, SourceRefused, ContentChanged: see the
            table above.
        :raises RemoteUnavailable, InvalidRangeResponse: all attempts failed.
        :raises DeadlineExceeded: no time is left, or each new URL has expired already.
        :raises HostBusy: the host has no free place, see `HostShares.take`.
        :raises BacklotError: what ``reading`` raises.
        """
        backoff = Backoff(self.retry, deadline, self.clock, f"read of {embed_code}")
        return backoff.run(_Operation(self, embed_code, reading, deadline, backoff).attempt)


@dataclass(slots=True)
class _Operation(Generic[T]):
    """One `SignedGet.read` with its renewals, redirects and retries. Belongs to one thread."""

    _owner: SignedGet
    _embed_code: str
    _reading: Reading[T]
    _deadline: Deadline
    _backoff: Backoff
    _expired: int = 0
    _refused: int = 0
    _redirects: RedirectChain | None = None
    _refused_at_s: float | None = None  # the last 429 or 503, at first the start
    _target: str = ""  # the URL of the last GET
    _sent_if_match: bool = False
    _refusing: set[str] = field(default_factory=set)  # hosts that refused `If-Match`

    def attempt(self) -> T:
        """Make one GET. :raises TryAgain: another one is to be made at once."""
        owner, reading = self._owner, self._reading
        wanted = reading.wanted()
        url = owner.resolver.resolve(
            self._embed_code,
            self._deadline,
            current=reading.current,
            priority=reading.priority,
            turn=reading.turn,
        )
        redirects, self._redirects = self._redirects, None  # only a further redirect keeps them
        target = redirects.url if redirects is not None else url.url
        place = None
        if owner.shares is not None:
            place = owner.shares.take(_host_and_port(target), self._deadline.remaining_s())
        exchange = Exchange(self._deadline.remaining_s())
        if place is not None:
            place.exchange = exchange
        answer: RangeAnswer | None = None
        first_byte_s: float | None = None
        outcome: Outcome | None = None
        reached_before = reading.reached
        started_s = owner.clock.monotonic()
        if self._refused_at_s is None:
            self._refused_at_s = started_s
        owner.meter.began(self._embed_code, started_s)
        try:
            if_match = reading.if_match
            if self._refusing or (
                owner.without_if_match and _host_and_port(target) in owner.without_if_match
            ):
                if_match = None
            self._target, self._sent_if_match = target, if_match is not None
            answer = owner.pool.get(
                target,
                wanted,
                if_match=if_match,
                new_connection=reading.new_connection,
                exchange=exchange,
            )
            first_byte_s = owner.clock.monotonic() - started_s
            if place is not None:
                place.answered()
            if answer.status in (200, 206, 416):
                self._expired = self._refused = 0
                try:
                    result = reading.take(answer)
                except InvalidRangeResponse as error:
                    raise type(error)(
                        f"source host {answer.host} answers a GET of {self._embed_code} wrongly: "
                        f"{error}"
                    ) from None
                outcome = Outcome.WHOLE
                if len(owner.served_at_s) >= MOST_HOSTS:
                    owner.served_at_s.clear()
                owner.served_at_s[answer.host] = owner.clock.monotonic()
                if self._refusing and len(owner.without_if_match) < MOST_HOSTS:
                    # they refused wrongly: the version is the right one
                    owner.without_if_match.update(self._refusing)
                return result
            overloaded = answer.status in OVERLOADED_STATUSES
            outcome = Outcome.OVERLOADED if overloaded else Outcome.REFUSED
            if answer.status in REDIRECT_STATUSES:
                redirects = redirects or RedirectChain(url.url, owner.policy)
                redirects.follow(answer.headers.get("location", ""))
                self._redirects = redirects
            else:
                _ON_STATUS.get(answer.status, _Operation._unexpected)(self, answer, url)
        except BaseException as error:
            outcome = outcome or _outcome_of(error)
            raise
        finally:
            if reading.reached > reached_before:
                self._backoff.progressed()
            if answer is not None:
                answer.close()
            self._report(answer, started_s, first_byte_s, outcome or Outcome.CUT)
            if place is not None:
                place.end()
        raise TryAgain

    def _report(
        self,
        answer: RangeAnswer | None,
        started_s: float,
        first_byte_s: float | None,
        outcome: Outcome,
    ) -> None:
        """Give the meter the record of a GET that has ended."""
        seconds = self._owner.clock.monotonic() - started_s
        if answer is not None and first_byte_s is not None:
            first_byte_s += answer.skipped_s
        record = GetRecord(
            host="" if answer is None else answer.host,
            embed_code=self._embed_code,
            new_connection=answer is None or answer.new_connection,
            started_s=started_s,
            first_byte_s=first_byte_s,
            seconds=max(0.0, seconds - (0.0 if answer is None else answer.rested_s)),
            received_bytes=0 if answer is None else answer.received_bytes,
            outcome=outcome,
        )
        self._owner.meter.ended(record)

    # Each of the next methods handles an answer by its status. It returns if another GET is to be
    # made at once, else it raises.

    def _gone(self, answer: RangeAnswer, url: SignedUrl) -> None:
        self._owner.resolver.invalidate(self._embed_code, url)
        self._refused += 1
        if self._refused > 1:
            raise SourceGone(f"the source of {self._embed_code} is gone ({answer.status})")

    def _in_trouble(self, answer: RangeAnswer, _url: SignedUrl) -> None:
        if answer.status in OVERLOADED_STATUSES:
            served_at_s = self._owner.served_at_s.get(answer.host)
            since_s, self._refused_at_s = self._refused_at_s, self._owner.clock.monotonic()
            if served_at_s is not None and since_s is not None and served_at_s > since_s:
                self._backoff.excuse()
        small_body(answer, ERROR_BODY_BYTES)
        date_s = http_date_s(answer.headers.get("date"))  # `Retry-After` is by the host's clock
        here_s = self._owner.clock.now() if date_s is None else date_s
        raise RemoteUnavailable(
            f"source host {answer.host} answers {answer.status} for {self._embed_code}",
            status=answer.status,
            retry_after_s=retry_after_header_s(answer.headers.get("retry-after"), here_s),
        )

    def _denied(self, answer: RangeAnswer, url: SignedUrl) -> None:
        cut: RemoteUnavailable | None = None
        try:
            error = parse_s3_error(answer.read(ERROR_BODY_BYTES))
        except RemoteUnavailable as failure:
            cut, error = failure, parse_s3_error(b"")
        self._refused_with(error, url)
        if self._refused > 1:
            # a denial is remembered for a minute; an answer whose body was cut is no denial
            raise cut or SourceDenied(
                f"the source of {self._embed_code} is refused: {error.code or answer.status}"
            )

    def _bad_request(self, answer: RangeAnswer, url: SignedUrl) -> None:
        error = parse_s3_error(small_body(answer, ERROR_BODY_BYTES))
        if error.expired:
            self._refused_with(error, url)
        else:
            self._refused_if_match(answer, url)

    def _refused_if_match(self, answer: RangeAnswer, url: SignedUrl) -> None:
        """The host refuses the ETag or the header: some S3-compatible hosts do not know it."""
        if not self._sent_if_match:
            self._unexpected(answer, url)
        small_body(answer, ERROR_BODY_BYTES)
        self._refusing.add(_host_and_port(self._target))

    def _unexpected(self, answer: RangeAnswer, _url: SignedUrl) -> None:
        raise InvalidRangeResponse(
            f"source host {answer.host} answers {answer.status} to a ranged GET of"
            f" {self._embed_code}"
        )

    def _refused_with(self, error: S3Error, url: SignedUrl) -> None:
        self._owner.resolver.invalidate(self._embed_code, url)
        if not error.expired:
            self._refused += 1
            return
        self._expired += 1
        if self._expired > MAX_EXPIRED:
            raise DeadlineExceeded(
                f"every new URL of {self._embed_code} is expired on arrival: "
                "is this machine's clock right?"
            )


_Judge = Callable[[_Operation[Any], RangeAnswer, SignedUrl], None]
_ON_STATUS: Mapping[int, _Judge] = {
    **dict.fromkeys(RETRIED_STATUSES, _Operation._in_trouble),
    400: _Operation._bad_request,
    401: _Operation._denied,
    403: _Operation._denied,
    404: _Operation._gone,
    410: _Operation._gone,
    412: _Operation._refused_if_match,
    501: _Operation._refused_if_match,
}


def _host_and_port(url: str) -> str:
    """:raises ProtocolViolation: the URL is not plain http(s)."""
    origin = origin_of(url)
    return f"{plain_host(origin.host)}:{origin.port}"


class RedirectChain:
    """The redirects of one GET, from the signed URL on. Decides which of them are followed.

    A redirect is followed to the same host and port, from ``http`` up to ``https`` on the same host
    (ports 80 and 443), and to hosts that the allow-list names. "The same" is the host of the last
    or of the first URL. A redirect is never followed from ``https`` down to ``http``, nor in a
    circle. The next request has the same headers and no ``Referer``, so the next host does not get
    the signed query. Belongs to one thread.
    """

    def __init__(self, signed_url: str, policy: SourcePolicy) -> None:
        self._hops = [signed_url]
        self._policy = policy

    @property
    def url(self) -> str:
        """The URL to ask now, to be sent unchanged."""
        return self._hops[-1]

    def follow(self, location: str) -> None:
        """Add one redirect, or raise.

        :param location: the answer's header; ``""`` if there was none.
        :raises SourceRefused: to another host that is not listed, or from https down to http.
        :raises InvalidRangeResponse: no usable URL, a circle, or more than `MAX_REDIRECTS`.
        """
        here = urlsplit(self.url)
        target = _target(self.url, location)
        if target is None:
            raise InvalidRangeResponse(
                f"source host {here.hostname} redirects, but to no usable URL"
            )
        there = urlsplit(target)
        if (here.scheme, there.scheme) == ("https", "http"):
            raise SourceRefused(
                f"source host {here.hostname} redirects from https to http: not followed"
            )
        known = _same_host(here, there) or _same_host(urlsplit(self._hops[0]), there)
        if not known and not self._policy.names(there.hostname):
            raise self._policy.refused_redirect(here.hostname or "", there.hostname)
        if target in self._hops or len(self._hops) > MAX_REDIRECTS:
            raise InvalidRangeResponse(f"source host {here.hostname} redirects in a circle")
        self._hops.append(target)


def _target(current: str, location: str) -> str | None:
    if not location:
        return None
    try:
        # http.client decodes headers as Latin-1: encode the bytes that the host sent
        location = re.sub(r"[^\x00-\x7f]", lambda c: quote(c[0].encode("latin-1")), location)
        if not location.isprintable():  # urljoin would drop line ends without an error
            return None
        # an absolute URL is used unchanged, as a signed URL is
        target = location if urlsplit(location).netloc else urljoin(current, location)
        scheme = urlsplit(current).scheme
        return SignedUrl.parse(f"{scheme}:{target}" if target.startswith("//") else target).url
    except (ValueError, ProtocolViolation):
        return None


def _same_host(here: SplitResult, there: SplitResult) -> bool:
    if plain_host(here.hostname) != plain_host(there.hostname):
        return False
    upgraded = (here.scheme, there.scheme) == ("http", "https") and _default_ports(here, there)
    return upgraded or (here.scheme, _port(here)) == (there.scheme, _port(there))


def _default_ports(here: SplitResult, there: SplitResult) -> bool:
    return (_port(here), _port(there)) == (80, 443)


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
