"""Sources by the CDN host: no credits, up to five minutes late; for the crawl over sizes."""

from __future__ import annotations

from typing import Protocol

from backlotfs.api.records import Source
from backlotfs.clock import Deadline

#: How old an answer of the CDN host may be, with some room for times in whole seconds.
LATE_S = 330.0


class CachedLookup(Protocol):
    """What is needed of the API client."""

    @property
    def clock_skew_s(self) -> float:
        """The server's wall clock minus ours, in seconds."""

    def get_source(self, embed_code: str, *, deadline: Deadline, fresh: bool) -> Source:
        """The source of an asset; not ``fresh``: by the CDN host."""


class LateLookup:
    """A `SourceLookup` that asks the CDN host. Any thread may call it."""

    def __init__(self, api: CachedLookup) -> None:
        self._api = api

    @property
    def clock_skew_s(self) -> float:
        """As the API's own host shows it."""
        return self._api.clock_skew_s

    def get_source(self, embed_code: str, *, deadline: Deadline) -> Source:
        """The source of an asset, perhaps with a URL that somebody else got before."""
        return self._api.get_source(embed_code, deadline=deadline, fresh=False)

    def knows_of(self, updated_at_s: float, now_s: float) -> bool:
        """Whether its answers cannot be older than what happened to a record by the server's clock.

        :param updated_at_s: of the record. :param now_s: our wall clock.
        """
        return now_s + self._api.clock_skew_s - updated_at_s > LATE_S
