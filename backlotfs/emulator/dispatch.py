# SPDX-License-Identifier: Apache-2.0
"""The steps of one request: log, faults, rate limit or CDN cache, answer, sending.

Code that reads files or iterates over the library runs in threads. Preview images have a thread of
their own: anybody can ask for them without a signature, and a frame of a new file can take seconds.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Literal

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from cachetools import TTLCache

from backlotfs.emulator.api import ApiSide, RateLimiter, rate_limit_message
from backlotfs.emulator.connections import MAX_BODY_BYTES
from backlotfs.emulator.faults import Fault, FaultPlan, altered, replacement
from backlotfs.emulator.http_types import (
    FIRST_NODE,
    Answer,
    ReceivedRequest,
    RouteMatch,
    SourceNode,
    match_route,
)
from backlotfs.emulator.library import Library
from backlotfs.emulator.previews import PreviewImages
from backlotfs.emulator.request_log import RequestEntry, RequestLog
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.sources import Sources, range_start, source_error
from backlotfs.emulator.transfer import Transfer
from backlotfs.emulator.workers import TooManyWaiting, WorkerPool

CDN_CACHE_S = 300.0
MOST_PARAMETERS = 100
"""Most parameters of a query; the API has about ten."""

API_HEADERS = {
    "Cache-Control": "no-cache",
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Ooyala-Server-Id": "i-emulator",
}

_SCANS = frozenset({"assets", "deleted_assets", "label", "label_assets", "labels_by_full_path"})
"""Routes that may iterate over the whole library; they always run in a thread."""

_MOST_HOST_LENGTH = 255
_WORKERS = 8
_MOST_WAITING = 2000  # further requests are answered by 503
_MOST_WAITING_FOR_IMAGES = 32
_CACHED_BYTES = 64 * 1024 * 1024
_CACHED_ENTRY_BYTES = 64 * 1024  # at most, of the URL and the entry: about 1000 entries

Host = Literal["api", "cdn"]


class Dispatcher:
    """Handles requests of both hosts. Its coroutines run on the emulator's loop."""

    def __init__(
        self,
        settings: EmulatorSettings,
        library: Library,
        *,
        sources: Sources,
        faults: FaultPlan,
        log: RequestLog,
    ) -> None:
        """Serve ``library``, log requests in ``log``, apply ``faults``."""
        self._settings = settings
        self._library = library
        self._sources = sources
        self._faults = faults
        self._log = log
        self._api = ApiSide(settings, library, sources)
        self._previews = PreviewImages(library)
        # answers of the CDN host and the times they were made, by URL as received
        self._cdn_answers: TTLCache[str, tuple[float, Answer]] = TTLCache(
            _CACHED_BYTES,
            CDN_CACHE_S,
            timer=settings.clock,
            getsizeof=lambda made: made[1].length + _CACHED_ENTRY_BYTES,
        )
        self._limiter: RateLimiter | None = None
        if settings.rate_limit is not None:
            self._limiter = RateLimiter(settings.rate_limit, settings.rate_window_s, settings.clock)
        self._workers = WorkerPool("emulator", threads=_WORKERS, most_waiting=_MOST_WAITING)
        self._image_workers = WorkerPool(
            "emulator-image", threads=1, most_waiting=_MOST_WAITING_FOR_IMAGES
        )

    def stop(self) -> None:
        """End the threads. Each pool waits at most a second for threads that hang."""
        self._previews.stop()
        self._workers.stop()
        self._image_workers.stop()

    async def handle(self, host: Host, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; both hosts also serve sources and preview images."""
        # With Python 3.12 or later aiohttp starts a request at once, so thousands of them on one
        # connection would stop all others.
        await asyncio.sleep(0)
        raw_path = request.raw_path.partition("?")[0]
        match = match_route(raw_path)
        wanted_range = request.headers.get("Range")
        peer = request.transport.get_extra_info("peername") if request.transport else None
        entry = self._log.begin(
            RequestEntry(
                route=match.route,
                method=request.method,
                path_without_query=raw_path,
                embed_code=match.embed_code,
                range_header=wanted_range,
                connection_id=peer[1] if peer else 0,
                host=host,
                started_s=self._settings.clock(),
            )
        )
        try:
            hit = self._faults.strike(match.route, match.embed_code, range_start(wanted_range))
            fault = hit.rule.fault if hit.rule is not None else None
            node = hit.nodes.node(entry.connection_id) if hit.nodes is not None else FIRST_NODE
            if fault is not None:
                self._log.update(entry, fault=fault.kind)
            elif node.number:
                self._log.update(entry, fault="nodes")
            for delay in hit.delays:
                await delay.wait(delay.fault.number("seconds"))
            transfer = Transfer(request, entry, self._log, self._workers)
            try:
                answer = await self._answer(host, request, match, fault, node)
                return await transfer.send(answer, now=self._settings.clock(), rule=hit.rule)
            except TooManyWaiting:  # nothing was sent yet
                return await transfer.send(source_error("SlowDown"), now=self._settings.clock())
        finally:
            self._log.end(entry)

    async def _answer(
        self,
        host: Host,
        request: web.BaseRequest,
        match: RouteMatch,
        fault: Fault | None,
        node: SourceNode,
    ) -> Answer:
        raw_path, _, raw_query = request.raw_path.partition("?")
        try:
            # the body is only needed for the signature
            async with asyncio.timeout(self._settings.body_timeout_s):
                body = await request.read()
        except TimeoutError:
            return Answer.message(408, "The body did not come in time.")
        except web.HTTPRequestEntityTooLarge:
            return Answer.message(413, f"A body has at most {MAX_BODY_BYTES} bytes.")
        except (web.RequestPayloadError, HttpProcessingError):
            return Answer.message(400, "The body cannot be read.")
        if raw_query.count("&") >= MOST_PARAMETERS:
            return Answer.message(400, f"A query has at most {MOST_PARAMETERS} parameters.")
        base_url = f"http://{request.headers.get('Host', '')[:_MOST_HOST_LENGTH]}"
        received = ReceivedRequest(
            request.method, raw_path, raw_query, request.headers, body, base_url, node
        )
        instead = replacement(fault) if fault is not None else None
        if host == "api" and match.route not in ("source", "preview_image"):
            answer = await self._metered_answer(received, match, instead)
        elif instead is not None:
            answer = instead
        elif match.route == "source":
            answer = await self._source_answer(received)
        elif match.route == "preview_image":
            subject = match.subject
            answer = await self._image_workers.run(self._previews.answer, received, subject)
        else:
            answer = await self._cdn_answer(received, match)
        return altered(fault, answer) if fault is not None else answer

    async def _source_answer(self, received: ReceivedRequest) -> Answer:
        refusal = self._sources.refusal(received)
        if refusal is not None:
            return refusal
        if not self._library.has_files:  # the answer does not wait for a disk, so needs no thread
            return self._sources.answer(received)
        return await self._workers.run(self._sources.answer, received)

    async def _metered_answer(
        self, received: ReceivedRequest, match: RouteMatch, instead: Answer | None
    ) -> Answer:
        if self._limiter is None:
            return _with_api_headers(instead or await self._api_answer(received, match))
        charge = self._limiter.charge()
        if not charge.granted:
            instead = rate_limit_message(charge.reset_s)
        answer = _with_api_headers(instead or await self._api_answer(received, match))
        return answer.with_headers(
            X_RateLimit_Credits=str(charge.remaining), X_RateLimit_Reset=str(charge.reset_s)
        )

    async def _cdn_answer(self, received: ReceivedRequest, match: RouteMatch) -> Answer:
        if received.method != "GET":
            return Answer.message(405, "The CDN host answers GET only.")
        url = f"{received.base_url}{received.raw_path}?{received.raw_query}"
        now = self._settings.clock()
        cached = self._cdn_answers.get(url)
        if cached is not None:  # neither the signature nor ``expires`` is checked again
            return cached[1].with_headers(Age=str(int(now - cached[0])), X_Cache="HIT")
        answer = _with_api_headers(await self._api_answer(received, match))
        # it is not known whether the real CDN cached errors
        if answer.status == 200 and answer.length < _CACHED_BYTES // 2:
            self._cdn_answers[url] = now, answer
        return answer

    async def _api_answer(self, received: ReceivedRequest, match: RouteMatch) -> Answer:
        refusal = self._api.refusal(received)
        if refusal is not None:
            return refusal
        if not self._library.has_files and match.route not in _SCANS:
            return self._api.answer(received, match)
        return await self._workers.run(self._api.answer, received, match)


def _with_api_headers(answer: Answer) -> Answer:
    common = {**API_HEADERS, "Ooyala-Request-Id": secrets.token_hex(16)}
    return replace(answer, headers={**common, **answer.headers})
