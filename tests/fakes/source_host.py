# SPDX-License-Identifier: Apache-2.0
"""A source host by script: what it answers, and what it was asked."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from backlotfs.api.records import SignedUrl
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.http.address_policy import SourcePolicy
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.exchange import Exchange
from backlotfs.http.pool import ConnectionPool, RangeAnswer
from backlotfs.source.host_shares import HostShares
from backlotfs.source.signed_get import GetRecord, SignedGet
from backlotfs.source.url_resolver import UrlResolver
from tests.fakes.clocks import ManualClock
from tests.fakes.records import LAST_MODIFIED

ORIGIN = "origin.example"


EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Asked(NamedTuple):
    """One GET."""

    url: str
    wanted: ByteRange
    if_match: str | None


class ScriptedAnswer(RangeAnswer):
    """An answer that needs no connection; ``body`` items that are exceptions are raised."""

    def __init__(
        self, status: int, headers: Mapping[str, str] | None = None, *body: bytes | Exception
    ) -> None:
        self.status = status
        self.headers = headers or {}
        self.closed = False
        self.host = ORIGIN
        self.new_connection = False
        self.received_bytes = 0
        self.skipped_s = self.rested_s = 0.0
        self._body = deque(body)

    def read(self, size: int) -> bytes:
        found = b""
        while self._body and len(found) < size:
            part = self._body.popleft()
            if isinstance(part, Exception):
                raise part  # with what came before it in this read, as a reset does
            taken = part[: size - len(found)]
            if len(taken) < len(part):
                self._body.appendleft(part[len(taken) :])
            found += taken
        return found

    def read_into(self, views: Sequence[memoryview], timeout_s: float) -> int:
        assert timeout_s >= 0
        found = 0
        for view in views:
            part = self.read(len(view))
            view[: len(part)] = part
            found += len(part)
            if len(part) < len(view):
                break
        self.received_bytes += found
        return found

    def close(self) -> None:
        self.closed = True


def partial(
    wanted: ByteRange,
    total: int,
    *body: bytes | Exception,
    etag: str | None = '"v1"',
    last_modified: str | None = LAST_MODIFIED,
) -> ScriptedAnswer:
    """A 206 for exactly ``wanted``."""
    headers = {"content-range": f"bytes {wanted.start}-{wanted.stop - 1}/{total}"}
    if etag is not None:
        headers["etag"] = etag
    if last_modified is not None:
        headers["last-modified"] = last_modified
    return ScriptedAnswer(206, headers, *body)


Step = ScriptedAnswer | Exception | Callable[[Asked], ScriptedAnswer]


class ScriptedPool(ConnectionPool):
    """Gives the next answer of the script, whatever is asked."""

    def __init__(self, *script: Step) -> None:
        self.script = deque(script)
        self.asked: list[Asked] = []
        self.given: list[ScriptedAnswer] = []

    def get(
        self,
        url: str,
        wanted: ByteRange,
        *,
        if_match: str | None = None,
        new_connection: bool = False,
        timeout_s: float = 10.0,
        exchange: Exchange | None = None,
    ) -> RangeAnswer:
        assert (exchange.left_s if exchange is not None else timeout_s) > 0
        self.asked.append(Asked(url, wanted, if_match))
        step = self.script.popleft()
        if isinstance(step, Exception):
            raise step
        answer = step if isinstance(step, ScriptedAnswer) else step(self.asked[-1])
        self.given.append(answer)
        return answer


class NumberedResolver(UrlResolver):
    """URLs ``…?n=1``, ``…?n=2``: a new number after each invalidation of the current one.

    :ivar asked: the options of each `resolve`.
    """

    def __init__(self) -> None:
        self.number = 1
        self.asked: list[dict[str, object]] = []

    def resolve(self, embed_code: str, deadline: Deadline, **how: object) -> SignedUrl:
        self.asked.append(how)
        return SignedUrl(f"http://{ORIGIN}/{embed_code}?n={self.number}")

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        if url == SignedUrl(f"http://{ORIGIN}/{embed_code}?n={self.number}"):
            self.number += 1


class Meter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []
        self.records: list[GetRecord] = []

    def began(self, embed_code: str, now_s: float) -> None:
        self.begun.append((embed_code, now_s))

    def ended(self, record: GetRecord) -> None:
        self.records.append(record)


class Source:
    """A `SignedGet` over a script, with everything a test looks at."""

    def __init__(self, *script: Step, max_attempts: int = 3) -> None:
        self.clock = ManualClock()
        self.pool = ScriptedPool(*script)
        self.resolver = NumberedResolver()
        self.meter = Meter()
        self._retry = RetryPolicy(max_attempts=max_attempts, first_delay_s=1.0, jitter=0.0)
        self.signed_get = self.get()

    def get(self, *allowed: str, shares: HostShares | None = None) -> SignedGet:
        """One over the script; ``allowed``: hosts that redirects may lead to."""
        return SignedGet(
            self.resolver,
            self.pool,
            self.clock,
            self._retry,
            policy=SourcePolicy.of("https://api.example", allowed),
            meter=self.meter,
            shares=shares,
        )

    def deadline(self, seconds: float = 60.0) -> Deadline:
        """On the script's clock."""
        return Deadline(seconds, self.clock)

    @property
    def numbers(self) -> list[str]:
        """Which URL each GET used."""
        return [asked.url.partition("?n=")[2] for asked in self.pool.asked]

    @property
    def all_closed(self) -> bool:
        """Whether no answer was left open."""
        return all(answer.closed for answer in self.pool.given)
