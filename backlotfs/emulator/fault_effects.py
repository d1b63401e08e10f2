"""What a fault does to an answer before it is sent. Pure; the body's way is in ``transfer``."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backlotfs.emulator.faults import Fault
from backlotfs.emulator.http_types import API_CONTENT_TYPE, Answer, ByteSpan
from backlotfs.emulator.sources import source_error


def rate_limit_message(seconds: int) -> Answer:
    """The API's 429: the seconds are in the text, and there is no ``Retry-After``."""
    return Answer.message(
        429, f"Request limit exceeded for provider 12345. Try again after {seconds} seconds."
    )


def replacement(fault: Fault) -> Answer | None:
    """The answer given instead of the real one, which is then not worked out; else None."""
    make = _REPLACEMENTS.get(fault.kind)
    return make(fault) if make is not None else None


def altered(fault: Fault, answer: Answer) -> Answer:
    """The answer as the fault leaves it; the same when it does not apply.

    A fault about ranges leaves everything but a 206 alone.
    """
    if fault.kind == "no_content":
        answer.close()
        return Answer(204, b"", {n: v for n, v in answer.headers.items() if n != "Content-Type"})
    if fault.kind == "gzip":
        return _gzipped(answer)
    if fault.kind in _JSON_EDITS and isinstance(answer.body, bytes) and answer.status == 200:
        payload = _JSON_EDITS[fault.kind](fault, json.loads(answer.body))
        return replace(answer, body=json.dumps(payload, ensure_ascii=False).encode())
    if fault.kind == "invalid_utf8" and isinstance(answer.body, bytes):
        return replace(answer, body=answer.body.replace(b'":"', b'":"\xff\xfe', 1))
    if fault.kind == "truncated_json" and isinstance(answer.body, bytes):
        return replace(answer, body=answer.body[: len(answer.body) // 2])
    if isinstance(answer.body, ByteSpan) and answer.status == 206:
        return _other_range(fault, answer, answer.body)
    return answer


def _other_range(fault: Fault, answer: Answer, span: ByteSpan) -> Answer:
    headers = dict(answer.headers)
    size = span.content.size
    if fault.kind == "missing_range":
        del headers["Content-Range"]
    elif fault.kind == "wrong_range":
        shift = fault.integer("offset")
        first, last = span.start + shift, span.stop - 1 + shift
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    elif fault.kind == "whole_object":
        del headers["Content-Range"]
        return Answer(200, ByteSpan(span.content, 0, size), headers)
    elif fault.kind == "other_length":
        stop = span.stop + fault.integer("size_delta")
        stop = min(max(stop, span.start + 1), size)
        headers["Content-Range"] = f"bytes {span.start}-{stop - 1}/{size}"
        return Answer(206, ByteSpan(span.content, span.start, stop), headers)
    return replace(answer, headers=headers)


def _gzipped(answer: Answer) -> Answer:
    body = answer.body
    if isinstance(body, ByteSpan):
        plain = body.content.read(body.start, body.length)
        body.content.close()
    else:
        plain = body
    return replace(
        answer.with_headers(Content_Encoding="gzip"), body=gzip.compress(plain, compresslevel=1)
    )


def _status(fault: Fault) -> Answer:
    values = fault.parameters
    body = values.get("body", b"")
    content_type = str(values.get("content_type", "text/html"))
    return Answer(
        fault.integer("status"),
        body if isinstance(body, bytes) else str(body).encode(),
        {"Content-Type": content_type, **values.get("headers", {})},
    )


def _redirect(fault: Fault) -> Answer:
    location = str(fault.parameters["location"])
    return Answer(fault.integer("status"), b"", {"Location": location})


def _object_message(fault: Fault) -> Answer:
    payload = {"message": {"description": ["cannot contain hidden chars"]}}
    return Answer.json(payload, fault.integer("status"))


_REPLACEMENTS: dict[str, Callable[[Fault], Answer]] = {
    "status": _status,
    "slow_down": lambda _fault: source_error("SlowDown"),
    "access_denied": lambda _fault: source_error("AccessDenied"),
    "redirect": _redirect,
    "rate_limited": lambda fault: rate_limit_message(fault.integer("seconds")),
    "object_message": _object_message,
    "html_500": lambda _fault: Answer(
        500,
        b"<html><body><h1>500 Internal Server Error</h1></body></html>",
        {"Content-Type": "text/html"},
    ),
    "empty_json": lambda _fault: Answer(200, b"", {"Content-Type": API_CONTENT_TYPE}),
}


def _is_source(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("is_source") in (True, "true")


def _edit_source(payload: Any, field: str, change: Callable[[Any], Any]) -> Any:
    if isinstance(payload, list):
        name = {"source_file_url": "url"}.get(field, field)
        return [
            {**entry, name: change(entry[name])} if _is_source(entry) else entry
            for entry in payload
        ]
    return {**payload, field: change(payload[field])} if field in payload else payload


def _resized(fault: Fault, payload: Any) -> Any:
    delta = fault.integer("size_delta")

    def change(size: Any) -> Any:
        if size is None:
            return None
        return str(int(size) + delta) if isinstance(size, str) else size + delta

    return _edit_source(payload, "file_size", change)


_JSON_EDITS: dict[str, Callable[[Fault, Any], Any]] = {
    "null_url": lambda _fault, payload: _edit_source(payload, "source_file_url", lambda _url: None),
    "no_source": lambda _fault, payload: (
        [entry for entry in payload if not _is_source(entry)]
        if isinstance(payload, list)
        else {**payload, "source_file_url": None, "file_size": None}
    ),
    "empty_streams": lambda _fault, payload: [] if isinstance(payload, list) else payload,
    "wrong_size": _resized,
}
