"""The way of one request: log, faults, rate limit or cache, the side that answers it, the sending.

What looks at files or walks the library runs in threads. Preview images have a thread of their
own: they need no signature, and a frame of a new file can take seconds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from backlotfs.emulator.api import ApiSide, RateLimiter, rate_limit_message
from backlotfs.emulator.connections import MAX_BODY_BYTES
from backlotfs.emulator.fault_effects import altered, replacement
from backlotfs.emulator.faults import Fault, FaultPlan
from backlotfs.emulator.http_types import Answer, ReceivedRequest
from backlotfs.emulator.library import Library
from backlotfs.emulator.previews import PreviewImages
from backlotfs.emulator.request_log import RequestEntry, RequestLog
from backlotfs.emulator.routes import RouteMatch, match_route
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.sources import Sources, range_start, source_error
from backlotfs.emulator.transfer import Transfer
from backlotfs.emulator.workers import TooManyWaiting, WorkerPool

MOST_PARAMETERS = 100
"""In a query; the API knows about ten."""

API_HEADERS = {
    "Cache-Control": "no-cache",
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Ooyala-Server-Id": "i-emulator",
}

_SCANS = frozenset({"assets", "deleted_assets", "label", "label_assets", "labels_by_full_path"})
"""Routes that may walk the whole library: always worked out in a thread."""

_MOST_HOST_LENGTH = 255
_WORKERS = 8
_MOST_WAITING = 2000  # what a client asks beyond that is answered by 503
_MOST_WAITING_FOR_IMAGES = 32
_CACHED_ANSWERS = 1000
_CACHED_BYTES = 64 * 1024 * 1024

Host = Literal["api", "cdn"]


class CdnCache:
    """The CDN host's cache: successful answers by their URL as received. For one thread."""

    def __init__(self, lifetime_s: float, clock: Callable[[], float]) -> None:
        """Answers younger than ``lifetime_s`` seconds of ``clock`` are given again."""
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._bytes = 0

    def get(self, url: str) -> Answer | None:
        """The cached answer with its ``Age``; nothing is checked again, ``expires`` neither."""
        stored, answer = self._answers.get(url, (0.0, None))
        age = self._clock() - stored
        if answer is None or not 0 <= age < self._lifetime_s:
            self._forget(url)
            return None
        return answer.with_headers(Age=str(int(age)), X_Cache="HIT")

    def put(self, url: str, answer: Answer) -> None:
        """Keep an answer, unless it is an error (whether those were kept is unknown)."""
        if answer.status == 200:
            self._forget(url)
            self._answers[url] = (self._clock(), answer)
            self._bytes += len(url) + answer.length
            while len(self._answers) > _CACHED_ANSWERS or self._bytes > _CACHED_BYTES:
                self._forget(next(iter(self._answers)))

    def _forget(self, url: str) -> None:
        if url in self._answers:
            self._bytes -= len(url) + self._answers.pop(url)[1].length


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
        """Serve ``library``, note requests in ``log``, go wrong as ``faults`` says."""
        self._settings = settings
        self._library = library
        self._sources = sources
        self._faults = faults
        self._log = log
        self._api = ApiSide(settings, library, sources)
        self._previews = PreviewImages(library)
        self._cdn_cache = CdnCache(settings.cdn_cache_s, settings.clock)
        self._limiter: RateLimiter | None = None
        if settings.rate_limit is not None:
            self._limiter = RateLimiter(settings.rate_limit, settings.rate_window_s, settings.clock)
        self._workers = WorkerPool("emulator", threads=_WORKERS, most_waiting=_MOST_WAITING)
        self._image_workers = WorkerPool(
            "emulator-image", threads=1, most_waiting=_MOST_WAITING_FOR_IMAGES
        )

    def stop(self) -> None:
        """End the threads; one that hangs in the kernel is left behind after a second."""
        self._previews.stop()
        self._workers.stop()
        self._image_workers.stop()

    async def handle(self, host: Host, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; sources and preview images share both hosts' ports."""
        # From Python 3.12 on aiohttp begins a request at once: thousands on one connection would
        # leave no turn to the others.
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
            if fault is not None:
                self._log.update(entry, fault=fault.kind)
            for delay in hit.delays:
                await delay.wait(delay.fault.number("seconds"))
            transfer = Transfer(request, entry, self._log, self._workers)
            try:
                answer = await self._answer(host, request, match, fault)
                return await transfer.send(answer, now=self._settings.clock(), rule=hit.rule)
            except TooManyWaiting:  # nothing was sent yet
                return await transfer.send(source_error("SlowDown"), now=self._settings.clock())
        finally:
            self._log.end(entry)

    async def _answer(
        self, host: Host, request: web.BaseRequest, match: RouteMatch, fault: Fault | None
    ) -> Answer:
        raw_path, _, raw_query = request.raw_path.partition("?")
        try:
            # no route needs the body: it only takes part in the signature
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
            request.method, raw_path, raw_query, request.headers, body, base_url
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
        if not self._library.has_files:  # no hop between threads, and none to be cancelled in
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
        cached = self._cdn_cache.get(url)
        if cached is not None:
            return cached
        answer = _with_api_headers(await self._api_answer(received, match))
        self._cdn_cache.put(url, answer)
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
