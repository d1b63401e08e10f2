"""How an answer goes onto the wire: sendfile when it can, in steps when it must, badly on demand.

Runs on the emulator's event loop. Bodies of a source object go out in steps small enough that the
loop stays free for other requests; a file without faults goes by sendfile.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from backlotfs.emulator.faults import FaultRule
from backlotfs.emulator.http_types import Answer, ByteSpan
from backlotfs.emulator.numbers_and_dates import http_date
from backlotfs.emulator.request_log import RequestEntry, RequestLog
from backlotfs.emulator.workers import WorkerPool

STEP_BYTES = 256 * 1024
"""Most bytes produced in one go: about a third of a millisecond of synthetic content."""

SENDFILE_FROM_BYTES = 128 * 1024
"""Below this, one write of headers and body together is quicker than sendfile's preparations."""

SENDFILE_BYTES = 8 * 1024 * 1024
"""Bytes to one sendfile call: how exactly the log knows what a broken transfer got."""

_TRICKLE_STEPS_PER_S = 10
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


class Transfer:
    """Sends one answer and keeps the request's log entry up to date."""

    def __init__(
        self,
        request: web.BaseRequest,
        answer: Answer,
        *,
        log: RequestLog,
        entry: RequestEntry,
        now: Callable[[], float],
        workers: WorkerPool,
    ) -> None:
        """Send nothing yet.

        :param now: seconds since the epoch for the ``Date`` header.
        :param workers: where small parts of files are read.
        """
        self._workers = workers
        self._request = request
        self._answer = answer
        self._log = log
        self._entry = entry
        self._headers = {
            "Date": http_date(now()),
            **answer.headers,
        }

    async def send(self, rule: FaultRule | None) -> web.StreamResponse:
        """Send it, ill-treated as ``rule`` says; the response is finished when this returns.

        :raises ConnectionError: when the client has gone away.
        :raises TooManyWaiting: nothing was sent, as too many others wait for a thread.
        """
        kind = rule.fault.kind if rule is not None else ""
        try:
            if rule is not None and kind in ("reset", "short_body", "long_body", "stall"):
                return await self._send_broken(rule, kind)
            if rule is not None and kind == "trickle":
                response = await self._start()
                await self._trickle(response, rule)
                return response
            return await self._send_whole()
        finally:
            self._answer.close()

    async def _send_whole(self) -> web.StreamResponse:
        body = self._answer.body
        if self._request.method == "HEAD":
            return await self._start()
        if isinstance(body, bytes):
            return await self._send_bytes(body)
        if body.content.file is None and body.length > STEP_BYTES:
            response = await self._start()
            await self._write(response, 0, body.length)
            return response
        if body.content.file is None:
            return await self._send_bytes(body.content.read(body.start, body.length))
        if body.length < SENDFILE_FROM_BYTES:
            return await self._send_bytes(
                await self._workers.run(body.content.read, body.start, body.length)
            )
        response = await self._start()
        loop = asyncio.get_running_loop()
        at = body.start
        while at < body.stop:
            transport = self._request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client has gone away")
            count = min(SENDFILE_BYTES, body.stop - at)
            sent = await loop.sendfile(transport, body.content.file, at, count)
            self._log.update(self._entry, sent=sent)
            at += sent
            if sent < count:  # the file shrank under us: a kept-alive client would wait for ever
                transport.close()
                break
        return response

    async def _send_bytes(self, body: bytes) -> web.StreamResponse:
        response = web.Response(
            status=self._answer.status, reason=_reason(self._answer.status), body=body
        )
        response.headers.update(self._headers)
        self._log.update(self._entry, status=self._answer.status)
        await response.prepare(self._request)
        await response.write_eof()
        self._log.update(self._entry, sent=len(body))
        return response

    async def _start(self) -> web.StreamResponse:
        response = web.StreamResponse(
            status=self._answer.status, reason=_reason(self._answer.status), headers=self._headers
        )
        response.content_length = self._answer.length
        self._log.update(self._entry, status=self._answer.status)
        await response.prepare(self._request)
        return response

    async def _write(self, response: web.StreamResponse, start: int, stop: int) -> None:
        body = self._answer.body
        while start < stop:
            length = min(STEP_BYTES, stop - start)
            if isinstance(body, ByteSpan):
                part = body.content.read(body.start + start, length)
            else:
                part = body[start : start + length]
            if not part:
                break
            await response.write(part)
            self._log.update(self._entry, sent=len(part))
            start += len(part)
            # write() waits only when the socket is full: let others have their turn
            await asyncio.sleep(0)

    async def _send_broken(self, rule: FaultRule, kind: str) -> web.StreamResponse:
        fault = rule.fault
        total = self._answer.length
        at_byte = total if kind == "long_body" else fault.integer("at_byte")
        if kind == "reset" and at_byte < 0:
            self._reset()
            return web.Response()
        response = await self._start()
        stop = min(at_byte, total)
        await self._write(response, 0, stop)
        transport = self._request.transport
        if kind == "reset":
            self._reset()
        elif kind == "short_body" and transport is not None:
            transport.close()
        elif kind == "long_body" and transport is not None:
            transport.write(bytes(fault.integer("extra_bytes")))
        elif kind == "stall" and stop < total:  # what is whole holds up nobody's next request
            seconds = fault.parameters.get("seconds")
            await rule.wait(None if seconds is None else float(seconds))
            await self._write(response, stop, total)
        return response

    async def _trickle(self, response: web.StreamResponse, rule: FaultRule) -> None:
        rate = rule.fault.number("bytes_per_s")
        step = max(1, int(rate / _TRICKLE_STEPS_PER_S))
        for start in range(0, self._answer.length, step):
            stop = min(start + step, self._answer.length)
            await rule.wait((stop - start) / rate)
            await self._write(response, start, stop)

    def _reset(self) -> None:
        transport = self._request.transport
        if transport is None:
            return
        peer: socket.socket | None = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
