# SPDX-License-Identifier: Apache-2.0
"""Fetches the preview image of an asset: a small, unsigned object on a host that the API names.

The host is trusted no more than a source host. The same policy decides which addresses are
connected to and which redirects are followed. The host gets no credentials, cookies or ``Referer``.
"""

from __future__ import annotations

from backlotfs.api.records import SignedUrl
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import (
    InvalidRangeResponse,
    ProtocolViolation,
    RemoteUnavailable,
    SourceDenied,
    SourceGone,
)
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import Backoff, RetryPolicy, TryAgain
from backlotfs.http.pool import ConnectionPool, RangeAnswer
from backlotfs.http.range_checks import doubtful_encoding
from backlotfs.source.signed_get import REDIRECT_STATUSES, RETRIED_STATUSES, RedirectChain

#: A larger image is refused.
MAX_IMAGE_BYTES = 4 * 1024 * 1024
_STEP_BYTES = 64 * 1024


class PreviewImages:
    """Fetches preview images. Any thread may call it; the caller's thread does the work."""

    def __init__(
        self,
        pool: ConnectionPool,
        clock: Clock,
        policy: SourcePolicy,
        retry: RetryPolicy | None = None,
    ) -> None:
        """``policy``: decides to which other hosts a redirect may lead."""
        self._pool = pool
        self._clock = clock
        self._policy = policy
        self._retry = retry or RetryPolicy(max_attempts=3)

    def fetch(self, url: str, deadline: Deadline) -> bytes:
        """The encoded image as its host sends it. Its content is not checked.

        :raises SourceGone: the host has no such image. :raises SourceDenied: the host refuses it.
        :raises SourceRefused: our policy forbids the host or a redirect.
        :raises ProtocolViolation: the URL or the answer cannot be used.
        :raises RemoteUnavailable: all attempts failed. :raises DeadlineExceeded: no time is left.
        """
        chain = RedirectChain(SignedUrl.parse(url).url, self._policy)
        backoff = Backoff(self._retry, deadline, self._clock, "fetching a preview image")
        return backoff.run(lambda: self._once(chain, deadline))

    def _once(self, chain: RedirectChain, deadline: Deadline) -> bytes:
        wanted = ByteRange(0, MAX_IMAGE_BYTES + 1)
        with self._pool.get(chain.url, wanted, timeout_s=deadline.remaining_s()) as answer:
            if answer.status not in REDIRECT_STATUSES:
                _check(answer)
                return _body(answer, deadline)
            chain.follow(answer.headers.get("location", ""))
        raise TryAgain


def _check(answer: RangeAnswer) -> None:
    status, host = answer.status, answer.host
    if status in (200, 206):
        try:
            doubtful_encoding(answer.headers)
        except InvalidRangeResponse as error:
            raise ProtocolViolation(f"image host {host}: {error}") from None
        return
    if status in (404, 410):
        raise SourceGone(f"the preview image is gone ({status} of {host})")
    if status in (401, 403):
        raise SourceDenied(f"the preview image is refused ({status} of {host})")
    if status in RETRIED_STATUSES:
        raise RemoteUnavailable(f"image host {host} answers {status}", status=status)
    raise ProtocolViolation(f"image host {host} answers {status} to a GET of a preview image")


def _body(answer: RangeAnswer, deadline: Deadline) -> bytes:
    body = bytearray()
    while True:
        piece = bytearray(_STEP_BYTES)
        count = answer.read_into([memoryview(piece)], deadline.remaining_s())
        body += piece[:count]
        if len(body) > MAX_IMAGE_BYTES:
            raise ProtocolViolation(f"the preview image of {answer.host} is larger than 4 MiB")
        if not count:
            return bytes(body)
