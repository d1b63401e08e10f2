# SPDX-License-Identifier: Apache-2.0
"""A resolver before an API that numbers the URLs it signs, and a CDN host that keeps answers."""

# the signatures are those of what is stood in for

from __future__ import annotations

from backlotfs.api.rate_limiter import ApiRateLimiter
from backlotfs.api.records import SignedUrl
from backlotfs.concurrency.clock import Deadline
from backlotfs.source.url_resolver import UrlResolver
from tests.fakes.api import NumberedApi
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import PATIENCE_S


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
