"""Fetches the preview image of an asset: a small, unsigned object on a host that the API names.

The host is as little trusted as a source host: the same policy says which addresses are connected
to and which redirects are followed, and it gets no credentials, cookies or ``Referer``.
"""

from __future__ import annotations

from backlotfs.api.records import SignedUrl
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import InvalidRangeResponse, RemoteUnavailable, SourceDenied, SourceGone
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import RetryPolicy, call_with_retries
from backlotfs.http.pool import ConnectionPool, RangeAnswer
from backlotfs.source.redirects import RedirectChain

#: More is no preview.
MAX_IMAGE_BYTES = 4 * 1024 * 1024
_STEP_BYTES = 64 * 1024
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class PreviewImages:
    """Any thread may call it; the caller's thread does the work."""

    def __init__(
        self,
        pool: ConnectionPool,
        clock: Clock,
        policy: SourcePolicy,
        retry: RetryPolicy | None = None,
    ) -> None:
        """``policy``: says which other hosts may serve images by redirects."""
        self._pool = pool
        self._clock = clock
        self._policy = policy
        self._retry = retry or RetryPolicy(max_attempts=3)

    def fetch(self, url: str, deadline: Deadline) -> bytes:
        """The image as it is on its host: encoded, and hostile until proven otherwise.

        :raises SourceGone, SourceDenied, SourceRefused: it is not there, or not for us.
        :raises InvalidRangeResponse, ProtocolViolation: no usable URL, or an answer that is none.
        :raises RemoteUnavailable: retries spent. :raises DeadlineExceeded: time spent.
        """
        start = SignedUrl.parse(url).url
        return call_with_retries(
            lambda: self._once(start, deadline),
            policy=self._retry,
            deadline=deadline,
            clock=self._clock,
            doing="fetching a preview image",
        )

    def _once(self, url: str, deadline: Deadline) -> bytes:
        chain = RedirectChain(url, self._policy)
        wanted = ByteRange(0, MAX_IMAGE_BYTES + 1)
        while True:
            left_s = deadline.remaining_s()
            with self._pool.get(chain.url, wanted, timeout_s=left_s) as answer:
                if answer.status not in _REDIRECTS:
                    _check(answer)
                    return _body(answer, deadline)
                chain.follow(answer.headers.get("location", ""))


def _check(answer: RangeAnswer) -> None:
    status, host = answer.status, answer.host
    if status in (200, 206):
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise InvalidRangeResponse(f"image host {host} encodes what was asked for as it is")
        return
    if status in (404, 410):
        raise SourceGone(f"the preview image is gone ({status} of {host})")
    if status in (401, 403):
        raise SourceDenied(f"the preview image is refused ({status} of {host})")
    if status in _RETRIED:
        raise RemoteUnavailable(f"image host {host} answers {status}", status=status)
    raise InvalidRangeResponse(f"image host {host} answers {status} to a GET of a preview image")


def _body(answer: RangeAnswer, deadline: Deadline) -> bytes:
    body = bytearray()
    while True:
        piece = bytearray(_STEP_BYTES)
        count = answer.read_into([memoryview(piece)], deadline.remaining_s())
        body += piece[:count]
        if len(body) > MAX_IMAGE_BYTES:
            raise InvalidRangeResponse(f"the preview image of {answer.host} is larger than 4 MiB")
        if not count:
            return bytes(body)
