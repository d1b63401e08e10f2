"""One GET, from a URL to a whole answer in memory, bounded in size and time."""

from __future__ import annotations

import requests

from backlotfs.api.answers import Answer
from backlotfs.api.connection_failures import EXCHANGE_ERRORS, ConnectionFailure, explain
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import AnswerTimedOut, HostUnreachable, ProtocolViolation, RemoteUnavailable
from backlotfs.http.bounded_body import BodyTooLarge, BoundedBody, UnknownEncoding
from backlotfs.http.exchange_deadline import ExchangeTimeout, current_exchange
from backlotfs.http.sessions import exchange_s, timeouts_s

# a page of 500 assets with metadata is about 1 MB; this much is a fault or a bomb
MAX_BODY_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
DEFAULT_LIMITS = TimeLimits()


class LastingFailure(HostUnreachable):
    """No connection, and another attempt will not change that: bad certificate, unknown name."""


def fetch(
    session: requests.Session,
    url: str,
    *,
    host: str,
    route: str,
    deadline: Deadline,
    clock: Clock,
    accept: str = "application/json",
    limit_bytes: int = MAX_BODY_BYTES,
    limits: TimeLimits = DEFAULT_LIMITS,
) -> Answer:
    """GET ``url`` and read all of the answer, whatever its status; redirects are not followed.

    :param url: may hold a signature: it is sent, and never shown.
    :param host: how to name the other side in messages.
    :param route: the path, for messages.
    :raises HostUnreachable: no connection.
    :raises AnswerTimedOut: the other side was silent for longer than ``limits.answer_s``.
    :raises RemoteUnavailable: no answer, one that broke off, or one that was not whole within
        `http.sessions.exchange_s` or, its head, `http.exchange_deadline.HEAD_TIMEOUT_S`. Neither of
        them, nor anything in their chains, holds the URL.
    :raises DeadlineExceeded: the time ended while the answer was arriving.
    :raises ProtocolViolation: more than ``limit_bytes`` after decompression, or an encoding that
        was not asked for.
    """
    total_s = exchange_s(deadline, limits)
    with current_exchange(total_s) as exchange:
        try:
            response = session.get(
                url,
                headers={"Accept": accept},
                timeout=timeouts_s(deadline, limits),
                allow_redirects=False,
                stream=True,
            )
            arrived_at_s = clock.now()
            exchange.limit(total_s)  # the head's own, shorter time was kept
            with response:
                body = _whole_body(response, host, route, deadline, limit_bytes)
                exchange.check()  # a body that our own shutdown cut may look like a whole one
            return Answer(host, route, response.status_code, response.headers, body, arrived_at_s)
        except EXCHANGE_ERRORS as error:
            cause = ExchangeTimeout() if exchange.over else error
            failure = explain(cause, host)
    # raised outside of the handler, so that the library's exception is not even our context
    raise _unreachable(failure)


def _unreachable(failure: ConnectionFailure) -> RemoteUnavailable:
    if failure.lasting:
        return LastingFailure(failure.words)
    if failure.timed_out:
        return AnswerTimedOut(failure.words)
    return (RemoteUnavailable if failure.connected else HostUnreachable)(failure.words)


def _whole_body(
    response: requests.Response, host: str, route: str, deadline: Deadline, limit_bytes: int
) -> bytes:
    answered = f"{host} answered {route}"
    encoding = response.headers.get("Content-Encoding")
    try:
        bounded = BoundedBody(encoding, limit_bytes)
        # read1 hands over what has arrived: a trickle cannot outlast the deadline unseen
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
            bounded.feed(chunk)
            deadline.check(f"reading the answer of {host} for {route}")
        return bounded.whole()
    except BodyTooLarge:
        raise ProtocolViolation(f"{answered} with more than {limit_bytes >> 20} MiB") from None
    except UnknownEncoding:
        if not response.ok:
            return b""  # a proxy's page: the status says enough
        raise ProtocolViolation(f"{answered} in an encoding that was not asked for") from None
