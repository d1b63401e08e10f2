"""What a fault does to an answer before it is sent. Pure; the body's way is in ``transfer``."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

from backlotfs.emulator.api import rate_limit_message
from backlotfs.emulator.faults import Fault
from backlotfs.emulator.http_types import API_CONTENT_TYPE, Answer, ByteSpan
from backlotfs.emulator.sources import source_error


def replacement(fault: Fault) -> Answer | None:
    """The answer given instead of the real one, which is then not worked out; else None."""
    values = fault.parameters
    match fault.kind:
        case "status":
            body = values.get("body", b"")
            return Answer(
                fault.integer("status"),
                body if isinstance(body, bytes) else str(body).encode(),
                {"Content-Type": str(values["content_type"]), **values["headers"]},
            )
        case "slow_down":
            return source_error("SlowDown")
        case "access_denied":
            return source_error("AccessDenied")
        case "redirect":
            return Answer(fault.integer("status"), b"", {"Location": str(values["location"])})
        case "rate_limited":
            return rate_limit_message(fault.integer("seconds"))
        case "object_message":
            payload = {"message": {"description": ["cannot contain hidden chars"]}}
            return Answer.json(payload, fault.integer("status"))
        case "html_500":
            page = b"<html><body><h1>500 Internal Server Error</h1></body></html>"
            return Answer(500, page, {"Content-Type": "text/html"})
        case "empty_json":
            return Answer(200, b"", {"Content-Type": API_CONTENT_TYPE})
    return None


def altered(fault: Fault, answer: Answer) -> Answer:
    """The answer as the fault leaves it; the same when it does not apply.

    A fault about ranges leaves everything but a 206 alone.
    """
    body = answer.body
    if fault.kind == "no_content":
        answer.close()
        return Answer(204, b"", {n: v for n, v in answer.headers.items() if n != "Content-Type"})
    if fault.kind == "gzip":
        if isinstance(body, ByteSpan):
            plain = body.content.read(body.start, body.length)
            answer.close()
            body = plain
        return replace(
            answer.with_headers(Content_Encoding="gzip"), body=gzip.compress(body, compresslevel=1)
        )
    if isinstance(body, ByteSpan):
        return _other_range(fault, answer, body) if answer.status == 206 else answer
    match fault.kind:
        case "null_url" | "no_source" | "empty_streams" | "wrong_size" if answer.status == 200:
            body = json.dumps(_edited(fault, json.loads(body)), ensure_ascii=False).encode()
        case "invalid_utf8":
            body = body.replace(b'":"', b'":"\xff\xfe', 1)
        case "truncated_json":
            body = body[: len(body) // 2]
    return replace(answer, body=body)


def _other_range(fault: Fault, answer: Answer, span: ByteSpan) -> Answer:
    headers = dict(answer.headers)
    size = span.content.size
    match fault.kind:
        case "missing_range":
            del headers["Content-Range"]
        case "wrong_range":
            shift = fault.integer("offset")
            first, last = span.start + shift, span.stop - 1 + shift
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        case "whole_object":
            del headers["Content-Range"]
            return Answer(200, ByteSpan(span.content, 0, size), headers)
        case "other_length":
            stop = min(max(span.stop + fault.integer("size_delta"), span.start + 1), size)
            headers["Content-Range"] = f"bytes {span.start}-{stop - 1}/{size}"
            return Answer(206, ByteSpan(span.content, span.start, stop), headers)
    return replace(answer, headers=headers)


def _edited(fault: Fault, payload: Any) -> Any:
    """``/streams`` (a list of entries) or ``/source_file_info`` (one object) with the fault."""
    if not isinstance(payload, list):
        match fault.kind:
            case "no_source":
                return {**payload, "source_file_url": None, "file_size": None}
            case "null_url" if "source_file_url" in payload:
                return {**payload, "source_file_url": None}
            case "wrong_size" if "file_size" in payload:
                return {**payload, "file_size": _resized(fault, payload["file_size"])}
        return payload
    match fault.kind:
        case "empty_streams":
            return []
        case "no_source":
            return [entry for entry in payload if not _is_source(entry)]
        case "null_url":
            return [{**entry, "url": None} if _is_source(entry) else entry for entry in payload]
    return [
        {**entry, "file_size": _resized(fault, entry["file_size"])} if _is_source(entry) else entry
        for entry in payload
    ]


def _is_source(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("is_source") in (True, "true")


def _resized(fault: Fault, size: Any) -> Any:
    delta = fault.integer("size_delta")
    if size is None:
        return None
    return str(int(size) + delta) if isinstance(size, str) else size + delta
