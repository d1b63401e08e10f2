# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: from bytes or headers to a record or one of our own errors, never anything else.

A target takes one input and asserts what must hold of whatever comes out. Inputs are either
arbitrary, or a true answer with a few bytes changed, which gets deeper.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from unittest import mock

from hypothesis import strategies as st

from backlotfs.api import records, untrusted_json
from backlotfs.api.answers import Answer, read_body, refusal
from backlotfs.api.paging import cursor_params
from backlotfs.api.rate_limiter import http_date_s, read_rate, retry_after_s
from backlotfs.api.records import Asset, DeletedAsset, Label, Page
from backlotfs.api.transport import BodyTooLarge, BoundedBody, UnknownEncoding
from backlotfs.byterange import ByteRange
from backlotfs.config.time_limits import parse_duration_s
from backlotfs.errors import BacklotError, InvalidRangeResponse, ProtocolViolation
from backlotfs.http.pool import parse_s3_error
from backlotfs.http.range_checks import answered_range, bytes_before, parse_content_range
from backlotfs.untrusted_numbers import decimal_number, whole_number

_PAGE = (
    b'{"items":[{"embed_code":"E1","name":"clip","original_file_name":"clip.mov","status":"live",'
    b'"asset_type":"video","created_at":"2013-01-02T03:04:05Z","updated_at":"2013-01-02T03:04:05Z",'
    b'"duration":1000,"labels":[{"id":"a","name":"x","full_name":"/x","parent_id":null}],'
    b'"metadata":{"k":"v"},"deleted_at":"2013-01-02T03:04:05Z","id":"b","url":"http://h/p?Expires=1",'
    b'"is_source":"true","file_size":"12","parent_id":"c"}],"next_page":"/v2/assets?page_token=2"}'
)
_STREAMS = b'[{"is_source":true,"url":"https://h/a%2Fb?Expires=9&Signature=x","file_size":12}]'
_ERROR = b'{"message":"signature mismatch, retry in 12 seconds","errors":{"a":["b"]}}'
_XML = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Request has'
    b" expired</Message><ActualObjectSize>12</ActualObjectSize><Expires>x</Expires></Error>"
)
#: Small, and more than a fuzzed process may have, once it is unpacked.
_BOMB = gzip.compress(bytes(192 * 1024 * 1024), 1)
_PIECES = [
    b"{", b"[" * 2000, b"]", b'"', b"\\ud800", b"\xff", b"\0", b"1e999", b"NaN", b"-", b"9" * 5000,
    b"<Code>", b"&x;", b"<!ENTITY", b"", b"null", b"\r\n", b"bytes ",
]  # fmt: skip


class Target(NamedTuple):
    """One parser.

    :ivar inputs: what it is given.
    :ivar run: gives it one input; raises AssertionError, or anything unexpected, on a fault.
    """

    inputs: st.SearchStrategy[Any]
    run: Callable[[Any], None]


@st.composite
def _changed(draw: st.DrawFn, *samples: bytes) -> bytes:
    """A true answer, cut and with up to four pieces put in or over it."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        over = draw(st.integers(0, 12))
        data[at : at + over] = draw(st.sampled_from(_PIECES) | st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def _json_documents() -> st.SearchStrategy[bytes]:
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    keys = st.sampled_from(["items", "embed_code", "file_size", "url", "is_source", "next_page"])
    documents = st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=12,
    )
    return documents.map(lambda document: json.dumps(document).encode())


#: A record and how often it comes: as many as a page may have, and ten times that.
LONG_PAGES = [
    (record, times * untrusted_json.MAX_RECORDS)
    for record in (b"0", b"{}", b'[""]')
    for times in (1, 10)
]


def _answer(status: int, body: bytes) -> Answer:
    return Answer("h", "/r", status, {}, body, 0.0)


PAGE_PARSERS: tuple[Callable[[bytes], Page[Asset] | Page[DeletedAsset] | Page[Label]], ...] = (
    records.parse_asset_page,
    records.parse_deleted_page,
    records.parse_labels,
)


def _run_json(body: bytes) -> None:
    for parse_page in PAGE_PARSERS:
        with contextlib.suppress(ProtocolViolation):
            page = read_body(_answer(200, body), parse_page)
            repr(page).encode("utf-8")
            assert len(page.skipped) <= records.MAX_REASONS
    try:
        document = read_body(_answer(200, body), untrusted_json.read_document)
    except ProtocolViolation:
        return
    for parse in (
        records.parse_asset,
        records.parse_label,
        records.parse_streams,
        records.parse_source_file_info,
    ):
        try:
            found = parse(document)
        except ProtocolViolation:
            continue
        repr(found).encode("utf-8")  # no lone surrogate gets through


def _run_error(given: tuple[int, bytes]) -> None:
    status, body = given
    error = refusal(_answer(status, body), expires=0, server_now_s=1.0)
    if error is None:
        assert 200 <= status < 300
    else:
        assert isinstance(error, BacklotError)
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        assert "s3cret" not in str(error)


def _run_xml(body: bytes) -> None:
    error = parse_s3_error(body)
    assert len(error.code) <= 64
    assert len(error.message) <= 300
    assert error.actual_size is None or 0 <= error.actual_size < 10**19


def _run_content_range(value: str) -> None:
    try:
        place, total = parse_content_range(value)
    except InvalidRangeResponse:
        return
    assert 0 <= place.start <= place.stop <= (2**63 if total is None else total)
    assert place.length or total == 0
    # RFC 9110 knows one way to write it; servers add blanks and zeros, or repeat it
    plain = value.replace("*/", "0-0/").replace("--1", "-0")
    first, last, size = re.findall("[0-9]+|[*]", plain, re.ASCII)[:3]
    assert int(first) == place.start
    assert int(last) == max(0, place.stop - 1)
    assert (None if size == "*" else int(size)) == total


def _run_answer(given: tuple[int, Mapping[str, str], ByteRange]) -> None:
    status, headers, wanted = given
    try:
        held = answered_range(status, headers)
        before = bytes_before(held.place, wanted)
    except InvalidRangeResponse:
        return
    assert status == 206 or held.place.start == 0 or "content-range" in headers
    assert held.place.start + before == wanted.start < held.place.stop
    assert not before or held.place.stop >= wanted.stop
    assert held.total is None or held.place.stop <= held.total


def _run_page(given: tuple[bytes, int]) -> None:
    body, chunk_bytes = given
    found: list[object] = []
    with mock.patch.object(untrusted_json, "_CHUNK_BYTES", chunk_bytes):
        try:
            fields = untrusted_json.read_page(body, found.append)
        except (ProtocolViolation, untrusted_json.MalformedJson):
            return
    # what we call a page is what the standard library calls JSON, with the same records in it
    expected = json.loads(body.decode("utf-8-sig", "replace"), parse_int=float)
    if isinstance(expected, dict) and isinstance(expected.get("items"), list):
        assert isinstance(fields, dict)
        assert len(found) == len(expected["items"])


def _run_long_page(page: tuple[bytes, int]) -> None:
    record, count = page
    body = b'{"items":[' + (record + b",") * (count - 1) + record + b"]}"
    for parse_page in PAGE_PARSERS:
        with contextlib.suppress(ProtocolViolation):
            assert len(read_body(_answer(200, body), parse_page).skipped) <= records.MAX_REASONS


def _run_compressed(given: tuple[bytes, str, int]) -> None:
    body, encoding, step = given
    try:
        bounded = BoundedBody(encoding, 65_536)
        for start in range(0, len(body), step):
            bounded.feed(body[start : start + step])
        whole = bounded.whole()
    except (BodyTooLarge, UnknownEncoding, zlib.error):
        return
    assert len(whole) <= 65_536


def _run_number(text: str) -> None:
    for parse in (whole_number, decimal_number, http_date_s, parse_duration_s):
        number = parse(text)
        assert number is None or math.isfinite(number)
    headers = {"X-RateLimit-Credits": text, "X-RateLimit-Reset": text}
    rate = read_rate(headers, monotonic_s=0.0, server_now_s=0.0)
    assert rate is None or 0 <= rate.resets_at_s <= 3600
    wait_s = retry_after_s(text, {"Retry-After": text}, 0.0)
    assert wait_s is None or 0 <= wait_s <= 3600


def _run_cursor(text: str) -> None:
    try:
        params = cursor_params(text, "/v2/assets")
    except ProtocolViolation:
        return
    assert params
    assert not {"api_key", "expires", "signature"} & params.keys()


_NUMBERS = st.integers(0, 20) | st.integers(0, 2**64)
_TRUE_RANGES = st.builds("bytes {}-{}/{}".format, _NUMBERS, _NUMBERS, _NUMBERS | st.just("*"))
_RANGES = _TRUE_RANGES | st.text(max_size=30) | st.text("bytes 0123456789-/*,=", max_size=30)
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-range": _RANGES,
        "content-length": _NUMBERS.map(str) | st.text(max_size=5),
        "content-encoding": st.sampled_from(["identity", "gzip", "", "Identity", "x"])
        | st.text(max_size=20),
    },
)
_WANTED = st.builds(
    lambda start, length: ByteRange(start, start + length), st.integers(0, 9), st.integers(1, 9)
)

TARGETS = {
    "json": Target(
        st.binary(max_size=200) | _json_documents() | _changed(_PAGE, _STREAMS), _run_json
    ),
    "page": Target(
        st.tuples(
            st.binary(max_size=200) | _json_documents() | _changed(_PAGE), st.integers(1, 300)
        ),
        _run_page,
    ),
    "long page": Target(st.sampled_from(LONG_PAGES), _run_long_page),
    "compressed": Target(
        st.tuples(
            st.binary(max_size=200)
            | _changed(gzip.compress(_PAGE), gzip.compress(b" " * 70_000), gzip.compress(b""))
            | st.just(_BOMB),
            st.sampled_from(["gzip", "x-gzip", "", "deflate", "br", "gzip, gzip"]),
            st.sampled_from([7, len(_BOMB)]),
        ),
        _run_compressed,
    ),
    "number": Target(
        st.text(max_size=30)
        | st.text("0123456789.-+eE_ smhd:,", max_size=40)
        | st.integers(0, 6000).map("9".__mul__)
        | st.sampled_from(["Mon, 02 Jan 2013 03:04:05 GMT", "nan", "-inf", "1e400", "٣"]),
        _run_number,
    ),
    "cursor": Target(
        st.text(max_size=40)
        | st.text("/v2assets?&=%;:[]@", max_size=60).map("/v2/assets?".__add__),
        _run_cursor,
    ),
    "error": Target(
        st.tuples(st.integers(100, 599), _changed(_ERROR) | st.binary(max_size=99)), _run_error
    ),
    "xml": Target(st.binary(max_size=200) | _changed(_XML), _run_xml),
    "content-range": Target(_RANGES, _run_content_range),
    "answer": Target(st.tuples(st.sampled_from([200, 206, 206]), _HEADERS, _WANTED), _run_answer),
}
