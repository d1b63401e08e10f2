# SPDX-License-Identifier: Apache-2.0
"""The emulator's two sides and its rate limiter, without sockets and in virtual time.

What goes between them and the client is what would go over the wire: signed requests, status,
headers, bodies. Each exchange takes the latency it is given.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from backlotfs.byterange import ByteRange
from backlotfs.config.time_limits import STALL_TIMEOUT_S
from backlotfs.emulator.api import ApiSide, RateLimiter, rate_limit_message
from backlotfs.emulator.http_types import Answer, ReceivedRequest, match_route
from backlotfs.emulator.library import Library
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.sources import Sources
from backlotfs.http.exchange import Exchange
from backlotfs.http.pool import ConnectionPool, RangeAnswer
from benchmarks.virtual_time import VirtualTime

API_URL = "http://api.virtual"


class VirtualService:
    """Answers both sides' requests.

    :ivar calls: API calls so far, by route; ``refused`` are those among them that met a 429.
    """

    def __init__(self, library: Library, time: VirtualTime, *, latency_s: float) -> None:
        self.settings = EmulatorSettings(clock=time.now)
        self.calls: Counter[str] = Counter()
        self.refused = 0
        self._time = time
        self._latency_s = latency_s
        self._sources = Sources(self.settings, library)
        self._api = ApiSide(self.settings, library, self._sources)
        limit, window_s = self.settings.rate_limit, self.settings.rate_window_s
        assert limit is not None, "the emulator's default is a limit"
        self._limiter = RateLimiter(limit, window_s, time.now)

    def exchange(self, url: str, headers: Mapping[str, str]) -> Answer:
        """One GET, there and back."""
        parts = urlsplit(url)
        received = ReceivedRequest("GET", parts.path, parts.query, headers, b"", API_URL)
        self._time.sleep(self._latency_s / 2)
        match = match_route(parts.path)
        if match.route == "source":
            answer = self._sources.answer(received)
        else:
            self.calls[match.route] += 1
            charge = self._limiter.charge()
            if charge.granted:
                answer = self._api.answer(received, match)
            else:
                self.refused += 1
                answer = rate_limit_message(charge.reset_s)
            answer = answer.with_headers(
                X_RateLimit_Credits=str(charge.remaining),
                X_RateLimit_Reset=str(charge.reset_s),
                Date=formatdate(self._time.now(), usegmt=True),
            )
        self._time.sleep(self._latency_s / 2)
        return answer


class ServiceAdapter(BaseAdapter):
    """Brings the requests of a `requests.Session` to the service."""

    def __init__(self, service: VirtualService) -> None:
        super().__init__()
        self._service = service

    def send(
        self, request: requests.PreparedRequest, *_arguments: Any, **_options: Any
    ) -> requests.Response:
        """One exchange."""
        assert request.url is not None, "requests prepared it"
        answer = self._service.exchange(request.url, request.headers)
        assert isinstance(answer.body, bytes), "the API side has no large bodies"
        response = requests.Response()
        response.status_code = answer.status
        response.headers = CaseInsensitiveDict(answer.headers)
        response.url = request.url
        response.raw = urllib3.HTTPResponse(
            io.BytesIO(answer.body), answer.headers, answer.status, preload_content=False
        )
        return response

    def close(self) -> None:
        """Nothing to give up."""


class SourceAnswer(RangeAnswer):
    """An answer that needs no connection."""

    def __init__(self, answer: Answer) -> None:
        self.host = "source.virtual"
        self.new_connection = False
        self.received_bytes = 0
        self.skipped_s = self.rested_s = 0.0
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.headers.items()}
        self._body = answer.body if isinstance(answer.body, bytes) else b"\0" * answer.length
        answer.close()

    def read(self, size: int) -> bytes:
        """The next bytes of the body; of a source, as many zeros."""
        found, self._body = self._body[:size], self._body[size:]
        return found

    def close(self) -> None:
        """Nothing to give up."""


class SourceConnections(ConnectionPool):
    """Connections that lead to the service."""

    def __init__(self, service: VirtualService) -> None:
        self._service = service

    def get(
        self,
        url: str,
        wanted: ByteRange,
        *,
        if_match: str | None = None,
        new_connection: bool = False,
        timeout_s: float = STALL_TIMEOUT_S,
        exchange: Exchange | None = None,
    ) -> RangeAnswer:
        """One exchange."""
        del if_match, new_connection, timeout_s, exchange
        return SourceAnswer(self._service.exchange(url, {"Range": wanted.header()}))

    def close(self) -> None:
        """Nothing to give up."""
