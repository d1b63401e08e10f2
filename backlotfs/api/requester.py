"""Signed GETs with retries, paced by the rate limiter; learns the server's clock on the way.

Each call of the API's own host takes a turn from the rate limiter first, and tells it what the
answer says of credits. A 429 sends the call back into the limiter's queue; it is no failure. The
deadline of an operation does not run while a call waits in that queue. A CDN host costs no credits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

import requests

from backlotfs.api.answers import Answer, RequestExpired, UnreadableAnswer, read_body, refusal
from backlotfs.api.credentials import Credentials
from backlotfs.api.rate_limiter import ApiRateLimiter, Purpose, http_date_s, read_rate
from backlotfs.api.signing import round_expires, signed_query
from backlotfs.api.transport import (
    DEFAULT_LIMITS,
    MAX_BODY_BYTES,
    LastingFailure,
    fetch,
)
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import (
    AnswerTimedOut,
    CircuitOpen,
    ClockSkewed,
    CredentialsRefused,
    HostUnreachable,
    RateLimited,
    RemoteUnavailable,
    SettingsError,
)
from backlotfs.http.backoff import RetryPolicy, call_with_retries
from backlotfs.http.circuit_breaker import Breakers

T = TypeVar("T")
# our ``expires`` is at least 15 s ahead and a second attempt adds minutes: only a clock that is
# off by more than this needs a person
TOLERATED_SKEW_S = 60.0
_SECOND_ATTEMPT_MARGIN_S = 300


class Base(NamedTuple):
    """A base URL, taken apart.

    :ivar origin: scheme and host.
    :ivar host: for messages.
    :ivar prefix: path before the routes, mostly ``""``; it is not signed.
    """

    origin: str
    host: str
    prefix: str


def parse_base(url: str, name: str) -> Base:
    """Take a base URL from the settings apart.

    :param name: what to call it in the message.
    :raises SettingsError: not ``http(s)://host[:port][/prefix]``.
    """
    try:
        parts = urlsplit(url)
        # the parser drops line ends in silence: look at what was written
        fits = url.isprintable() and " " not in url and _is_base(parts)
    except ValueError:
        fits = False
    if not fits:
        raise SettingsError(f"the {name} must look like https://host, without query or password")
    return Base(f"{parts.scheme}://{parts.netloc}", parts.netloc, parts.path.rstrip("/"))


def _is_base(parts: SplitResult) -> bool:
    extra = parts.query or parts.fragment or "@" in parts.netloc or parts.port == 0
    return not extra and parts.scheme in ("http", "https") and bool(parts.hostname)


@dataclass(frozen=True, slots=True)
class _Request(Generic[T]):
    """One call, before it is signed, and what its answer is to look like."""

    base: Base
    route: str
    params: Mapping[str, str]
    read: Callable[[bytes], T]
    deadline: Deadline
    purpose: Purpose
    accept: str
    limit_bytes: int


class SignedRequester:
    """GETs one route at a time. Any number of threads may call; it holds no lock meanwhile.

    :ivar clock_skew_s: server's clock minus ours, by the ``Date`` of the last answer that came
        straight from the API (a cached one is as old as the cache likes); 0.0 until known. Good
        to about a second.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        api_url: str,
        session: requests.Session,
        clock: Clock,
        cdn_url: str | None,
        retry: RetryPolicy,
        limiter: ApiRateLimiter,
        limits: TimeLimits = DEFAULT_LIMITS,
    ) -> None:
        """Nothing is sent yet.

        :raises SettingsError: when a URL is none.
        """
        self.clock_skew_s = 0.0
        self._limiter = limiter
        self.api = parse_base(api_url, "API URL")
        self._cdn = parse_base(cdn_url, "CDN URL") if cdn_url else None
        self._credentials = credentials
        self._session = session
        self._clock = clock
        self._retry = retry
        self._limits = limits
        self._breakers = Breakers(clock)

    def get(
        self,
        route: str,
        params: Mapping[str, str],
        read: Callable[[bytes], T],
        *,
        deadline: Deadline,
        purpose: Purpose,
        fresh: bool = True,
        accept: str = "application/json",
        limit_bytes: int = MAX_BODY_BYTES,
        retry_timeouts: bool = True,
    ) -> T:
        """GET ``route``; the result is what ``read`` makes of the body.

        :param route: percent-encoded path without the prefix: ``/v2/assets``.
        :param read: raises `MalformedJson`, after which the call is made again, or
            `ProtocolViolation`.
        :param purpose: for the rate limiter.
        :param fresh: False lets a CDN host answer, up to 5 minutes late.
        :param limit_bytes: a larger body, decompressed, is a `ProtocolViolation`.
        :param retry_timeouts: False: the first `AnswerTimedOut` is raised, for who can ask for a
            smaller page instead.
        :raises BacklotError: the errors of :class:`~backlotfs.api.client.ApiClient`.
        """
        base = self.api if fresh or self._cdn is None else self._cdn
        request = _Request(base, route, params, read, deadline, purpose, accept, limit_bytes)
        return call_with_retries(
            lambda: self._signed(request),
            policy=self._retry,
            deadline=deadline,
            clock=self._clock,
            doing=f"GET {route} from {base.host}",
            retryable=lambda error: (
                _may_pass(error) and (retry_timeouts or not isinstance(error, AnswerTimedOut))
            ),
        )

    def _signed(self, request: _Request[T]) -> T:
        """One call; a second one where the server takes a fresh signature for an expired one."""
        try:
            return self._paced(request, margin_s=0)
        except RequestExpired as error:
            skew_s = self.clock_skew_s
            if abs(skew_s) > TOLERATED_SKEW_S:
                side = "behind" if skew_s > 0 else "ahead of"
                raise ClockSkewed(
                    f"the API calls a fresh request expired: this machine's clock is"
                    f" {abs(skew_s):.0f} s {side} the server's;"
                    " set it, e.g. `timedatectl set-ntp true`"
                ) from error
        return self._paced(request, margin_s=_SECOND_ATTEMPT_MARGIN_S)

    def _paced(self, request: _Request[T], *, margin_s: int) -> T:
        """One call that waits for its turn, again after each 429; the deadline stands meanwhile."""
        host = request.base.host
        if request.base is not self.api:
            self._breakers.check(host)
            return self._exchange(request, margin_s=margin_s)
        purpose, began_s = request.purpose, self._clock.monotonic()
        while True:
            self._breakers.check(host, only_look=True)  # nobody waits for a call that is not made
            if purpose.turn is None or not purpose.turn.use():
                self._limiter.acquire(
                    purpose.priority,
                    key=purpose.key,
                    deadline=request.deadline,
                    waited_s=self._clock.monotonic() - began_s,
                )
            try:
                self._breakers.check(host)
            except CircuitOpen:
                self._limiter.returned(purpose.priority)
                raise
            try:
                return self._exchange(request, margin_s=margin_s)
            except RateLimited:
                if self._clock.monotonic() - began_s >= self._limiter.credit_wait_s:
                    raise

    def _exchange(self, request: _Request[T], *, margin_s: int) -> T:
        base = request.base
        counts = base is self.api  # towards the account's credits
        expires = round_expires(self._clock.now() + margin_s)
        query = signed_query(
            self._credentials, "GET", request.route, request.params, expires=expires
        )
        try:
            answer = fetch(
                self._session,
                f"{base.origin}{base.prefix}{request.route}?{query}",
                host=base.host,
                route=request.route,
                deadline=request.deadline,
                clock=self._clock,
                accept=request.accept,
                limit_bytes=request.limit_bytes,
                limits=self._limits,
            )
        except BaseException as failure:
            if isinstance(failure, HostUnreachable):
                self._breakers.failed(base.host, str(failure))
            if counts:
                self._limiter.failed()
            raise
        self._breakers.reached(base.host)
        if counts:
            self._learn_time(answer)
        server_now_s = self._clock.now() + self.clock_skew_s
        error = refusal(answer, expires=expires, server_now_s=server_now_s)
        if counts and isinstance(error, RateLimited):
            self._limiter.refused(error.retry_after_s)
        elif counts:
            now_s = self._clock.monotonic()
            self._limiter.answered(
                read_rate(answer.headers, monotonic_s=now_s, server_now_s=server_now_s)
            )
        if error is not None:
            raise error
        return read_body(answer, request.read)

    def _learn_time(self, answer: Answer) -> None:
        date_s = http_date_s(answer.headers.get("Date"))
        if date_s is not None and answer.headers.get("Age", "0").strip() == "0":
            # Date is cut to whole seconds: half a second later is the better guess
            self.clock_skew_s = date_s + 0.5 - answer.arrived_at_s


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may end better; a refusal never does."""
    if isinstance(error, LastingFailure | CredentialsRefused | RateLimited):
        return False
    return isinstance(error, RemoteUnavailable | UnreadableAnswer)
