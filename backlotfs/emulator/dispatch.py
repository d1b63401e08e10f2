"""The way of one request: log, faults, rate limit, the side that answers it, the sending."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from backlotfs.emulator.api import ApiSide, RateLimiter
from backlotfs.emulator.fault_effects import altered, rate_limit_message, replacement
from backlotfs.emulator.faults import FaultHit, FaultPlan
from backlotfs.emulator.http_types import (
    MOST_PARAMETERS,
    Answer,
    ReceivedRequest,
    TooManyParameters,
)
from backlotfs.emulator.library import Library
from backlotfs.emulator.preview_side import PreviewSide
from backlotfs.emulator.request_log import RequestEntry, RequestLog
from backlotfs.emulator.routes import RouteMatch, match_route
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.sources import SourceSide, SourceUrls, range_start, source_error
from backlotfs.emulator.transfer import Transfer
from backlotfs.emulator.workers import TooManyWaiting, WorkerPool

KEPT_ANSWERS = 1000
KEPT_BYTES = 64 * 1024 * 1024


class CdnCache:
    """Successful answers by path and query as received. For one thread."""

    def __init__(self, lifetime_s: float, clock: Callable[[], float]) -> None:
        """Answers younger than ``lifetime_s`` seconds of ``clock`` are given again."""
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._bytes = 0

    def get(self, url: str) -> Answer | None:
        """The cached answer with its ``Age``; nothing is checked anew, ``expires`` neither."""
        stored, answer = self._answers.get(url, (0.0, None))
        age = self._clock() - stored
        if answer is None or not 0 <= age < self._lifetime_s:
            self._forget(url)
            return None
        return answer.with_headers(Age=str(int(age)), X_Cache="HIT")

    def put(self, url: str, answer: Answer) -> None:
        """Keep an answer, unless it is an error (whether those were kept is unknown)."""
        if answer.status == 200 and isinstance(answer.body, bytes):
            self._forget(url)
            self._answers[url] = (self._clock(), answer)
            self._bytes += len(url) + answer.length
            while len(self._answers) > KEPT_ANSWERS or self._bytes > KEPT_BYTES:
                self._forget(next(iter(self._answers)))

    def _forget(self, url: str) -> None:
        _, answer = self._answers.pop(url, (0.0, None))
        if answer is not None:
            self._bytes -= len(url) + answer.length


_SCANS = frozenset({"assets", "deleted_assets", "label", "label_assets", "labels_by_full_path"})
"""Routes that may walk the whole library: always worked out beside the loop."""

MOST_BODY_BYTES = 64 * 1024
_MOST_HOST_LENGTH = 255
_WORKERS = 8
_MOST_WAITING = 2000  # what a client asks beyond that is answered by 503
_MOST_WAITING_FOR_IMAGES = 32

API_HEADERS = {
    "Cache-Control": "no-cache",
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Ooyala-Server-Id": "i-emulator",
}


class Dispatcher:
    """Handles requests of both hosts. Its coroutines run on the emulator's loop.

    What looks at files or walks the library runs in threads, preview images in one of their
    own: nobody signs for them, and a frame of a new file can take seconds.
    """

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
        self._library = library
        self._faults = faults
        self._log = log
        self._api = ApiSide(settings, library, urls)
        self._source = SourceSide(settings, library, urls)
        self._previews = PreviewSide(library)
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

    async def handle_api(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request to the API host, or to the source side that shares its port."""
        return await self._handle(request, "api")

    async def handle_cdn(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request to the CDN host."""
        return await self._handle(request, "cdn")

    async def _handle(self, request: web.BaseRequest, host: str) -> web.StreamResponse:
        # From Python 3.12 on aiohttp begins a request at once: thousands on one connection would
        # leave no turn to the others.
        await asyncio.sleep(0)
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
                match.route, match.embed_code, range_start(request.headers.get("Range"))
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
                base_url=f"http://{request.headers.get('Host', '')[:_MOST_HOST_LENGTH]}",
            )
            try:
                body = await self._body_of(request)
                answer = await self._answer(replace(received, body=body), match, host, strike)
            except _BadBody as error:
                answer = Answer.message(error.status, str(error))
            except TooManyParameters:
                answer = Answer.message(400, f"A query has at most {MOST_PARAMETERS} parameters.")
            except TooManyWaiting:
                answer = source_error("SlowDown")
            try:
                return await self._sending(request, answer, entry).send(strike.rule)
            except TooManyWaiting:  # to read what is to be sent: nothing was sent yet
                answer = source_error("SlowDown")
                return await self._sending(request, answer, entry).send(None)
        finally:
            self._log.end(entry)

    def _sending(self, request: web.BaseRequest, answer: Answer, entry: RequestEntry) -> Transfer:
        return Transfer(
            request,
            answer,
            log=self._log,
            entry=entry,
            now=self._settings.clock,
            workers=self._workers,
        )

    async def _body_of(self, request: web.BaseRequest) -> bytes:
        """The body, which no route needs: it only takes part in the signature."""
        if not request.body_exists:
            return b""
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                while part := await request.content.readany():
                    body += part
                    if len(body) > MOST_BODY_BYTES:
                        raise _BadBody(413, f"A body has at most {MOST_BODY_BYTES} bytes.")
        except TimeoutError:
            raise _BadBody(408, "The body did not come in time.") from None
        except (web.RequestPayloadError, HttpProcessingError):
            raise _BadBody(400, "The body cannot be read.") from None
        return bytes(body)

    async def _answer(
        self, received: ReceivedRequest, match: RouteMatch, host: str, strike: FaultHit
    ) -> Answer:
        fault = strike.rule.fault if strike.rule is not None else None
        instead = replacement(fault) if fault is not None else None
        if match.route == "source":
            answer = instead or await self._source_answer(received)
        elif match.route == "preview_image":
            answer = instead or await self._image_answer(received, match)
        elif host == "cdn":
            answer = instead or await self._cdn_answer(received, match)
        else:
            answer = await self._metered_answer(received, match, instead)
        return altered(fault, answer) if fault is not None else answer

    async def _image_answer(self, received: ReceivedRequest, match: RouteMatch) -> Answer:
        return await self._image_workers.run(self._previews.answer, received, match.subject)

    async def _source_answer(self, received: ReceivedRequest) -> Answer:
        refusal = self._source.refusal(received)
        if refusal is not None:
            return refusal
        if not self._library.has_files:  # no hop between threads, and none to be cancelled in
            return self._source.answer(received)
        return await self._workers.run(self._source.answer, received)

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
        refusal = self._api.refusal(received)
        if refusal is not None:
            return refusal
        if not self._library.has_files and match.route not in _SCANS:
            return self._api.answer(received, match)
        return await self._workers.run(self._api.answer, received, match)


class _BadBody(Exception):
    """The body of a request is not read to its end; the answer's status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _with_api_headers(answer: Answer, headers: dict[str, str]) -> Answer:
    common = {**API_HEADERS, "Ooyala-Request-Id": secrets.token_hex(16)}
    return replace(answer, headers={**common, **answer.headers, **headers})
