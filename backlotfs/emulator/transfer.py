# SPDX-License-Identifier: Apache-2.0
"""Sends answers, with the fault of a rule, in steps.

It runs on the emulator's event loop. The steps are so small that the loop has time for other
requests. Large parts of files are read on other threads, and copied: with sendfile(2), bytes that
are overwritten in the file would also change in the answer, while they wait to be sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from http import HTTPStatus

from aiohttp import web

from backlotfs.emulator.faults import FaultRule
from backlotfs.emulator.http_types import Answer, ByteSpan
from backlotfs.emulator.numbers_and_dates import http_date
from backlotfs.emulator.request_log import RequestEntry, RequestLog
from backlotfs.emulator.workers import TooManyWaiting, WorkerPool

STEP_BYTES = 256 * 1024
"""Most bytes of one step: computing them takes about a third of a millisecond."""

STREAM_FROM_BYTES = 128 * 1024
"""Smaller bodies are sent faster by one write together with the headers."""

READ_BYTES = 1024 * 1024
"""Most bytes of one read of a file. The log counts bytes after each read."""

_TRICKLE_STEPS_PER_S = 10
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


class Transfer:
    """Sends the answer of one request and keeps its log entry up to date."""

    def __init__(
        self, request: web.BaseRequest, entry: RequestEntry, log: RequestLog, workers: WorkerPool
    ) -> None:
        """Send nothing yet; ``workers`` read parts of files."""
        self._request = request
        self._entry = entry
        self._log = log
        self._workers = workers

    async def send(
        self, answer: Answer, *, now: float, rule: FaultRule | None = None
    ) -> web.StreamResponse:
        """Send the whole answer, with the fault of ``rule``.

        :param now: seconds since the epoch for the ``Date`` header.
        :raises ConnectionError: the client has disconnected.
        :raises TooManyWaiting: nothing was sent, because too many requests wait for a thread.
        """
        answer = Answer(answer.status, answer.body, {"Date": http_date(now), **answer.headers})
        try:
            if rule is not None and rule.fault.kind == "early_hints":
                hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
                self._transport().write(hints * rule.fault.integer("count"))
            match rule.fault.kind if rule is not None else "":
                case "reset" | "short_body" | "long_body" | "stall":
                    assert rule is not None
                    return await self._send_broken(answer, rule)
                case "trickle":
                    assert rule is not None
                    return await self._trickle(answer, rule)
                case "no_length" if self._request.method != "HEAD":
                    return await self._send_chunked(answer)
            return await self._send_whole(answer)
        finally:
            answer.close()

    async def _send_whole(self, answer: Answer) -> web.StreamResponse:
        body = answer.body
        if self._request.method == "HEAD":
            return await self._start(answer)
        if isinstance(body, bytes):
            return await self._send_bytes(answer, body)
        if body.content.file is None:
            if body.length <= STEP_BYTES:
                return await self._send_bytes(answer, body.content.read(body.start, body.length))
            response = await self._start(answer)
            await self._write(response, body, 0, body.length)
            return response
        if body.length < STREAM_FROM_BYTES:
            data = await self._workers.run(body.content.read, body.start, body.length)
            if len(data) < body.length:
                raise ConnectionResetError("the file was changed")  # the client asks again
            return await self._send_bytes(answer, data)
        response = await self._start(answer)
        at = body.start
        while at < body.stop:
            count = min(READ_BYTES, body.stop - at)
            data = b""
            with contextlib.suppress(TooManyWaiting):
                data = await self._workers.run(body.content.read, at, count)
            if len(data) < count:  # the file was changed, or nobody could read it in time
                self._transport().close()
                break
            await response.write(data)
            self._log.update(self._entry, sent=count)
            at += count
        return response

    async def _send_bytes(self, answer: Answer, body: bytes) -> web.StreamResponse:
        response = web.Response(status=answer.status, reason=_reason(answer.status), body=body)
        response.headers.update(answer.headers)
        self._log.update(self._entry, status=answer.status)
        await response.prepare(self._request)
        await response.write_eof()
        self._log.update(self._entry, sent=len(body))
        return response

    async def _start(self, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(
            status=answer.status, reason=_reason(answer.status), headers=answer.headers
        )
        response.content_length = answer.length
        self._log.update(self._entry, status=answer.status)
        await response.prepare(self._request)
        return response

    async def _send_chunked(self, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(
            status=answer.status, reason=_reason(answer.status), headers=answer.headers
        )
        response.enable_chunked_encoding()
        self._log.update(self._entry, status=answer.status)
        await response.prepare(self._request)
        await self._write(response, answer.body, 0, answer.length)
        return response

    async def _write(
        self, response: web.StreamResponse, body: bytes | ByteSpan, start: int, stop: int
    ) -> None:
        while start < stop:
            length = min(STEP_BYTES, stop - start)
            if isinstance(body, ByteSpan):
                part = body.content.read(body.start + start, length)
            else:
                part = body[start : start + length]
            if len(part) < length:  # the file was changed
                self._transport().close()
                raise ConnectionResetError("the file was changed")
            await response.write(part)
            self._log.update(self._entry, sent=len(part))
            start += len(part)
            # write() waits only if the socket is full; let other requests run
            await asyncio.sleep(0)

    async def _send_broken(self, answer: Answer, rule: FaultRule) -> web.StreamResponse:
        fault, kind, total = rule.fault, rule.fault.kind, answer.length
        at_byte = total if kind == "long_body" else fault.integer("at_byte")
        if kind == "reset" and at_byte < 0:
            self._reset()
            return web.Response()
        response = await self._start(answer)
        stop = min(at_byte, total)
        await self._write(response, answer.body, 0, stop)
        if kind == "reset":
            self._reset()
        elif kind == "short_body":
            self._transport().close()
        elif kind == "long_body":
            self._transport().write(bytes(fault.integer("extra_bytes")))
        elif stop < total:  # a stall before the end of the body
            seconds = fault.parameters.get("seconds")
            await rule.wait(None if seconds is None else float(seconds))
            await self._write(response, answer.body, stop, total)
        return response

    async def _trickle(self, answer: Answer, rule: FaultRule) -> web.StreamResponse:
        response = await self._start(answer)
        rate = rule.fault.number("bytes_per_s")
        step = max(1, int(rate / _TRICKLE_STEPS_PER_S))
        for start in range(0, answer.length, step):
            stop = min(start + step, answer.length)
            await rule.wait((stop - start) / rate)
            await self._write(response, answer.body, start, stop)
        return response

    def _reset(self) -> None:
        transport = self._transport()
        peer: socket.socket = transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    def _transport(self) -> asyncio.Transport:
        """The connection.

        :raises ConnectionResetError: the client has disconnected.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone away")
        return transport


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
