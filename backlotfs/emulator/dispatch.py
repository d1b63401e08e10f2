"""One request from its arrival to its end: log, budget, faults, the side it is for, the sending."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

from aiohttp import web

from backlotfs.emulator.api_side import ApiSide
from backlotfs.emulator.cdn_cache import CdnCache
from backlotfs.emulator.exchange import Answer, ReceivedRequest
from backlotfs.emulator.fault_effects import altered, rate_limit_message, replacement
from backlotfs.emulator.fault_plan import FaultPlan, Strike
from backlotfs.emulator.library import Library
from backlotfs.emulator.preview_side import PreviewSide
from backlotfs.emulator.range_header import range_start
from backlotfs.emulator.rate_limit import RateLimiter
from backlotfs.emulator.request_log import RequestEntry, RequestLog
from backlotfs.emulator.routing import RouteMatch, match_route
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.source_side import SourceSide
from backlotfs.emulator.source_url import SourceUrls
from backlotfs.emulator.transfer import Transfer

_SCANS = frozenset({"assets", "deleted_assets", "label", "label_assets"})
"""Routes that may walk the whole library: worked out beside the loop."""

API_HEADERS = {
    "Cache-Control": "no-cache",
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Ooyala-Server-Id": "i-emulator",
}


class Dispatcher:
    """Handles requests of both hosts. Its coroutines run on the emulator's loop."""

    def __init__(
        self,
        settings: EmulatorSettings,
        library: Library,
        *,
        urls: SourceUrls,
        faults: FaultPlan,
        log: RequestLog,
    ) -> None:
        """Serve ``library``, note requests in ``log``, go wrong as ``faults`` says."""
        self._settings = settings
        self._faults = faults
        self._log = log
        self._api = ApiSide(settings, library, urls)
        self._source = SourceSide(settings, library, urls)
        self._previews = PreviewSide(library)
        self._cdn_cache = CdnCache(settings.cdn_cache_s, settings.clock)
        self._limiter: RateLimiter | None = None
        if settings.rate_limit is not None:
            self._limiter = RateLimiter(settings.rate_limit, settings.rate_window_s, settings.clock)

    async def handle_api(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request to the API host, or to the source side that shares its port."""
        return await self._handle(request, "api")

    async def handle_cdn(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request to the CDN host."""
        return await self._handle(request, "cdn")

    async def _handle(self, request: web.BaseRequest, host: str) -> web.StreamResponse:
        raw_path, _, raw_query = request.raw_path.partition("?")
        match = match_route(raw_path)
        peer = request.transport.get_extra_info("peername") if request.transport else None
        entry = self._log.begin(
            RequestEntry(
                route=match.route,
                method=request.method,
                path_without_query=raw_path,
                embed_code=match.embed_code,
                range_header=request.headers.get("Range"),
                connection_id=peer[1] if peer else 0,
                host=host,
                started_s=self._settings.clock(),
            )
        )
        try:
            strike = self._faults.strike(
                match.route, match.embed_code, range_start(entry.range_header)
            )
            if strike.rule is not None:
                self._log.update(entry, fault=strike.rule.fault.kind)
            for rule in strike.delays:
                await rule.wait(rule.fault.number("seconds"))
            received = ReceivedRequest(
                method=request.method,
                raw_path=raw_path,
                raw_query=raw_query,
                headers=request.headers,
                body=await request.read(),
                base_url=f"http://{request.headers.get('Host', '')}",
            )
            answer = await self._answer(received, match, host, strike)
            sending = Transfer(
                request, answer, log=self._log, entry=entry, now=self._settings.clock
            )
            return await sending.send(strike.rule)
        finally:
            self._log.end(entry)

    async def _answer(
        self, received: ReceivedRequest, match: RouteMatch, host: str, strike: Strike
    ) -> Answer:
        fault = strike.rule.fault if strike.rule is not None else None
        instead = replacement(fault) if fault is not None else None
        if match.route == "source":
            answer = instead or self._source.answer(received)
        elif match.route == "preview_image":
            answer = instead or await self._preview(received, match)
        elif host == "cdn":
            answer = instead or await self._cdn_answer(received, match)
        else:
            answer = await self._metered_answer(received, match, instead)
        return altered(fault, answer) if fault is not None else answer

    async def _preview(self, received: ReceivedRequest, match: RouteMatch) -> Answer:
        return await asyncio.to_thread(self._previews.answer, received, match.subject)

    async def _metered_answer(
        self, received: ReceivedRequest, match: RouteMatch, instead: Answer | None
    ) -> Answer:
        headers: dict[str, str] = {}
        if self._limiter is not None:
            charge = self._limiter.charge()
            headers = {
                "X-RateLimit-Credits": str(charge.remaining),
                "X-RateLimit-Reset": str(charge.reset_s),
            }
            if not charge.granted:
                instead = rate_limit_message(charge.reset_s)
        answer = instead or await self._api_answer(received, match)
        return _with_api_headers(answer, headers)

    async def _cdn_answer(self, received: ReceivedRequest, match: RouteMatch) -> Answer:
        if received.method != "GET":
            return Answer.message(405, "The CDN host answers GET only.")
        url = f"{received.base_url}{received.raw_path}?{received.raw_query}"
        cached = self._cdn_cache.get(url)
        if cached is not None:
            return cached
        answer = _with_api_headers(await self._api_answer(received, match), {})
        self._cdn_cache.put(url, answer)
        return answer

    async def _api_answer(self, received: ReceivedRequest, match: RouteMatch) -> Answer:
        if match.route in _SCANS:
            return await asyncio.to_thread(self._api.answer, received, match)
        return self._api.answer(received, match)


def _with_api_headers(answer: Answer, headers: dict[str, str]) -> Answer:
    common = {**API_HEADERS, "Ooyala-Request-Id": secrets.token_hex(16)}
    return replace(answer, headers={**common, **answer.headers, **headers})
