"""Signed GETs with retries; learns the server's clock and the account's credits on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

import requests

from backlotfs.api.answers import Answer, RequestExpired, UnreadableAnswer, read_json, refusal
from backlotfs.api.credentials import Credentials
from backlotfs.api.rate_status import RateStatus, http_date_s, read_rate, speaks_of_credits
from backlotfs.api.signing import round_expires, signed_query
from backlotfs.api.transport import MAX_BODY_BYTES, LastingFailure, fetch
from backlotfs.clock import Clock, Deadline
from backlotfs.errors import (
    BacklotError,
    ClockSkewed,
    CredentialsRefused,
    HostUnreachable,
    ProtocolViolation,
    RateLimited,
    RemoteUnavailable,
    SettingsError,
)
from backlotfs.wire.breaker import Breakers
from backlotfs.wire.retrying import RetryPolicy, call_with_retries

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
class _Form(Generic[T]):
    """What an answer is to look like."""

    read: Callable[[Answer], T]
    accept: str = "application/json"
    limit_bytes: int = MAX_BODY_BYTES


class SignedRequester:
    """GETs one route at a time. Any number of threads may call; it holds no lock meanwhile.

    :ivar clock_skew_s: server's clock minus ours, by the ``Date`` of the last answer that came
        straight from the API (a cached one is as old as the cache likes); 0.0 until known. Good
        to about a second.
    :ivar rate: credits, by the last such answer that spoke of them; None until then. Of a server
        that never does, what a 429 says, until the next answer that is none.
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
    ) -> None:
        """Nothing is sent yet.

        :raises SettingsError: when a URL is none.
        """
        self.clock_skew_s = 0.0
        self.rate: RateStatus | None = None
        self._counts_credits = False
        self.api = parse_base(api_url, "API URL")
        self._cdn = parse_base(cdn_url, "CDN URL") if cdn_url else None
        self._credentials = credentials
        self._session = session
        self._clock = clock
        self._retry = retry
        self._breakers = Breakers(clock)

    def get(
        self,
        route: str,
        params: Mapping[str, str],
        parse: Callable[[object], T],
        *,
        deadline: Deadline,
        fresh: bool,
    ) -> T:
        """GET ``route`` and parse its JSON.

        :param route: percent-encoded path without the prefix: ``/v2/assets``.
        :param fresh: False lets a CDN host answer, up to 5 minutes late.
        :raises BacklotError: the errors of :class:`~backlotfs.api.client.ApiClient`.
        """
        base = self.api if fresh or self._cdn is None else self._cdn
        document = self._ask(base, route, params, deadline, _Form(read_json))
        try:
            return parse(document)
        except ProtocolViolation as error:
            raise ProtocolViolation(f"{base.host} answered {route} with {error}") from None

    def get_document(self, route: str, *, deadline: Deadline, limit_bytes: int) -> bytes:
        """GET ``route``, whose answer is no JSON: its bytes as they are; none for a 204.

        :raises ProtocolViolation: more than ``limit_bytes`` of them.
        :raises BacklotError: the errors of :class:`~backlotfs.api.client.ApiClient`.
        """
        form = _Form(lambda answer: answer.body, "*/*", limit_bytes)
        return self._ask(self.api, route, {}, deadline, form)

    def _ask(
        self, base: Base, route: str, params: Mapping[str, str], deadline: Deadline, form: _Form[T]
    ) -> T:
        return call_with_retries(
            lambda: self._signed(base, route, params, deadline, form),
            policy=self._retry,
            deadline=deadline,
            clock=self._clock,
            doing=f"GET {route} from {base.host}",
            retryable=_may_pass,
        )

    def _signed(
        self, base: Base, route: str, params: Mapping[str, str], deadline: Deadline, form: _Form[T]
    ) -> T:
        try:
            return self._exchange(base, route, params, deadline, form, margin_s=0)
        except RequestExpired as error:
            skew_s = self.clock_skew_s
            if abs(skew_s) > TOLERATED_SKEW_S:
                side = "behind" if skew_s > 0 else "ahead of"
                raise ClockSkewed(
                    f"the API calls a fresh request expired: this machine's clock is"
                    f" {abs(skew_s):.0f} s {side} the server's;"
                    " set it, e.g. `timedatectl set-ntp true`"
                ) from error
        margin_s = _SECOND_ATTEMPT_MARGIN_S
        return self._exchange(base, route, params, deadline, form, margin_s=margin_s)

    def _exchange(
        self,
        base: Base,
        route: str,
        params: Mapping[str, str],
        deadline: Deadline,
        form: _Form[T],
        *,
        margin_s: int,
    ) -> T:
        expires = round_expires(self._clock.now() + margin_s)
        query = signed_query(self._credentials, "GET", route, params, expires=expires)
        url = f"{base.origin}{base.prefix}{route}?{query}"
        self._breakers.check(base.host)
        try:
            answer = fetch(
                self._session,
                url,
                host=base.host,
                route=route,
                deadline=deadline,
                clock=self._clock,
                accept=form.accept,
                limit_bytes=form.limit_bytes,
            )
        except HostUnreachable as unreachable:
            self._breakers.failed(base.host, str(unreachable))
            raise
        self._breakers.reached(base.host)
        if base is self.api:
            self._learn_time(answer)
        error = refusal(
            answer,
            expires=expires,
            server_now_s=self._clock.now() + self.clock_skew_s,
        )
        if base is self.api:
            self._learn_rate(answer, error)
        if error is not None:
            raise error
        return form.read(answer)

    def _learn_time(self, answer: Answer) -> None:
        date_s = http_date_s(answer.headers.get("Date"))
        if date_s is not None and answer.headers.get("Age", "0").strip() == "0":
            # Date is cut to whole seconds: half a second later is the better guess
            self.clock_skew_s = date_s + 0.5 - answer.arrived_at_s

    def _learn_rate(self, answer: Answer, error: BacklotError | None) -> None:
        self._counts_credits |= speaks_of_credits(answer.headers)
        rate = read_rate(
            answer.headers,
            monotonic_s=self._clock.monotonic(),
            refused_s=error.retry_after_s if isinstance(error, RateLimited) else None,
        )
        self.rate = rate or (self.rate if self._counts_credits else None)


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may end better; a refusal never does."""
    if isinstance(error, LastingFailure | CredentialsRefused):
        return False
    return isinstance(error, RemoteUnavailable | UnreadableAnswer)
