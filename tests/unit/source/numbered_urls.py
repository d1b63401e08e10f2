"""A resolver before an API that numbers the URLs it signs, and a CDN host that keeps answers."""

# the signatures are those of what is stood in for

from __future__ import annotations

import threading

from backlotfs.api.client import ApiClient
from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, Turn
from backlotfs.api.records import SignedUrl, Source
from backlotfs.concurrency.clock import Deadline
from backlotfs.errors import RemoteUnavailable
from backlotfs.source.url_resolver import UrlResolver
from tests.unit.fakes import PATIENCE_S, ManualClock


class NumberedApi(ApiClient):
    """Signs ``…?n=1``, ``…?n=2`` on a server whose clock differs by ``clock_skew_s``."""

    def __init__(self, clock: ManualClock, *, life_s: float | None = 3600.0) -> None:
        self.clock = clock
        self.life_s = life_s
        self.clock_skew_s = 0.0
        self.calls: list[str] = []
        self.gate: threading.Event | None = None
        self.entered = threading.Event()
        self.error: Exception | None = None
        self.has_url = True
        self.priorities: list[Priority] = []
        self.turns: list[Turn | None] = []
        self.limiter: ApiRateLimiter | None = None
        self.cdn_calls: list[str] = []
        self.cdn_answer: Source | Exception = RemoteUnavailable("no CDN host")

    def get_source(
        self,
        embed_code: str,
        *,
        deadline: Deadline,
        priority: Priority = Priority.WAITING,
        turn: Turn | None = None,
        fresh: bool = True,
    ) -> Source:
        """The next URL; the CDN host gives what the test says. A call waits for `limiter`."""
        if not fresh:
            self.cdn_calls.append(embed_code)
            if isinstance(self.cdn_answer, Exception):
                raise self.cdn_answer
            return self.cdn_answer
        if self.limiter is not None:
            self.limiter.acquire(priority, key=embed_code, deadline=deadline)
        self.priorities.append(priority)
        self.turns.append(turn)
        self.calls.append(embed_code)
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        if not self.has_url:
            return Source(None, 5)
        dies_at = None
        if self.life_s is not None:
            dies_at = self.clock.now() + self.clock_skew_s + self.life_s
        return Source(SignedUrl(f"http://o/{embed_code}?n={len(self.calls)}", dies_at), 5)


class Setup:
    """A resolver and what it depends on."""

    def __init__(self, *, life_s: float | None = 3600.0) -> None:
        self.clock = ManualClock()
        self.api = NumberedApi(self.clock, life_s=life_s)
        self.limiter = ApiRateLimiter(self.clock, credit_wait_s=PATIENCE_S)
        self.updated_at_s: dict[str, float] = {}
        self.resolver = UrlResolver(
            self.api, self.limiter, self.clock, updated_at_s=self.updated_at_s.get
        )

    def url(self, embed_code: str = "E1") -> str:
        """What is handed out now."""
        return self.resolve(embed_code).url

    def resolve(self, embed_code: str = "E1") -> SignedUrl:
        """What is handed out now."""
        return self.resolver.resolve(embed_code, Deadline(60, self.clock))

    def current(self) -> str:
        """What is handed out to somebody who must not have a URL from before the last touch."""
        return self.resolver.resolve("E1", Deadline(60, self.clock), current=True).url
