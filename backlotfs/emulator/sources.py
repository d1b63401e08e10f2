# SPDX-License-Identifier: Apache-2.0
"""The source host: the part of S3 that signed GETs use.

A URL is signed by S3's query-string authentication, Signature V2. The signed resource is
``/cms.ooyala.com`` (the bucket's name, independent of the emulator's address) and the path as
received, undecoded.

A request is checked in this order: one kind of credentials, all three parameters, a valid date,
expiry, key id, signature; then the object, its validators, the range. Expiry is checked only when a
request starts, so a running transfer continues after its URL has expired.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Iterable, Mapping
from threading import Lock
from urllib.parse import quote
from xml.sax.saxutils import escape

from backlotfs.emulator.assets import EmulatedAsset, OpenContent
from backlotfs.emulator.http_types import Answer, ByteSpan, ReceivedRequest
from backlotfs.emulator.library import Library
from backlotfs.emulator.numbers_and_dates import (
    http_date,
    iso_time,
    moment_of_header,
    saturated,
    whole_number,
)
from backlotfs.emulator.settings import EmulatorSettings

BUCKET = "cms.ooyala.com"
CONTENT_TYPE = "binary/octet-stream"  # S3's own default; what the real objects had is unknown

MOST_PATH_BYTES = 4096
"""Longest path; S3's keys have at most 1024 bytes, three times as many if percent-encoded."""

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE | re.ASCII)
_SUB_RESOURCES = frozenset(
    {
        "acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber",
        "policy", "requestPayment", "response-cache-control", "response-content-disposition",
        "response-content-encoding", "response-content-language", "response-content-type",
        "response-expires", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning",
        "versions", "website",
    }
)  # fmt: skip  # one name a line would be a page
"""Query parameters that are part of the resource in S3."""

_ERRORS = {
    "AccessDenied": (403, "Access Denied"),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided. "
        "Check your key and signing method.",
    ),
    "InvalidAccessKeyId": (
        403,
        "The AWS Access Key Id you provided does not exist in our records.",
    ),
    "NoSuchKey": (404, "The specified key does not exist."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidArgument": (400, "Only one auth mechanism allowed"),
    "KeyTooLongError": (400, "Your key is too long."),
    "SlowDown": (503, "Please reduce your request rate."),
}
"""S3's error codes that matter to clients, with their status and usual text."""


class RangeNotSatisfiable(Exception):
    """The range is valid, but the object has no byte in it (416)."""


class Sources:
    """Signs source URLs and answers requests for source objects. Thread-safe.

    ``expire_urls`` stores no list of URLs: all URLs up to the latest ``Expires`` of that time are
    expired, and later URLs get a later one.
    """

    def __init__(self, settings: EmulatorSettings, library: Library) -> None:
        """Serve the sources of ``library``; no URL is signed yet."""
        self._settings = settings
        self._library = library
        self._lock = Lock()
        self._latest_expires = 0
        self._expired_through = 0

    def url(self, asset: EmulatedAsset, base_url: str) -> str:
        """A new signed URL of the asset's source.

        :param base_url: prefix of the URL, if the settings have none.
        """
        settings = self._settings
        with self._lock:
            expires = math.ceil(settings.clock() + settings.url_lifetime_s)
            expires = max(expires, self._expired_through + 1)
            self._latest_expires = max(self._latest_expires, expires)
        return signed_url(
            settings.source_base_url or base_url,
            asset.object_key,
            expires,
            key_id=settings.source_key_id,
            secret=settings.source_secret,
        )

    def expire_urls(self) -> None:
        """Expire every URL that was signed until now."""
        with self._lock:
            self._expired_through = self._latest_expires

    def refusal(self, request: ReceivedRequest) -> Answer | None:
        """The answer to a request with wrong credentials, otherwise None. Opens no file."""
        if len(request.raw_path) > MOST_PATH_BYTES:
            return source_error("KeyTooLongError")
        values = request.values
        missing = [n for n in ("Signature", "Expires", "AWSAccessKeyId") if n not in values]
        if len(missing) == 3:
            return source_error("AccessDenied")
        if "Authorization" in request.headers:
            return source_error("InvalidArgument")
        if missing:
            return source_error(
                "AccessDenied",
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
                "parameters",
            )
        expires = values["Expires"]
        until = whole_number(expires)
        if until is None:
            text = f"Invalid date (should be seconds since epoch): {expires[:40]}"
            return source_error("AccessDenied", text)
        now = self._settings.clock()
        if until <= self._expired_through or until < now:
            dates = {
                # after expire_urls, ``until`` may be later than now
                "Expires": iso_time(min(until, int(now) - 1)),
                "ServerTime": iso_time(now),
            }
            return source_error("AccessDenied", "Request has expired", **dates)
        key_id, signature = values["AWSAccessKeyId"], values["Signature"]
        if key_id != self._settings.source_key_id:
            return source_error("InvalidAccessKeyId", AWSAccessKeyId=key_id)
        text = string_to_sign(
            request.method,
            f"/{BUCKET}{request.raw_path}",
            expires,
            request.headers,
            request.parameters,
        )
        if source_signature(self._settings.source_secret, text) != signature:
            return source_error(
                "SignatureDoesNotMatch",
                AWSAccessKeyId=key_id,
                StringToSign=text,
                SignatureProvided=signature,
                StringToSignBytes=text.encode("utf-8", "surrogateescape").hex(" "),
            )
        return None

    def answer(self, request: ReceivedRequest) -> Answer:
        """The answer to a request with valid credentials. It may hold an open file: close it."""
        if request.method != "GET":  # URLs are signed for GET, so only tests can send others
            return source_error("MethodNotAllowed")
        key = request.path.lstrip("/")
        content = self._library.object(key)
        try:
            if content is None:
                raise FileNotFoundError(key)
            opened = content.open()
        except OSError:
            return source_error("NoSuchKey", Key=key)
        answer = self._object_answer(request, opened)
        if not isinstance(answer.body, ByteSpan):
            opened.close()
        return answer

    def _object_answer(self, request: ReceivedRequest, opened: OpenContent) -> Answer:
        etag = request.node.etag(opened.etag)
        headers = {
            **_amazon_headers(),
            "Last-Modified": http_date(opened.last_modified),
            "ETag": etag,
            "Accept-Ranges": "bytes",
        }
        match = request.headers.get("If-Match")
        if match is not None and not _names(match, etag):
            return source_error("PreconditionFailed", Condition="If-Match")
        since = moment_of_header(request.headers.get("If-Unmodified-Since"))
        if match is None and since is not None and opened.last_modified > since:
            return source_error("PreconditionFailed", Condition="If-Unmodified-Since")
        none_match = request.headers.get("If-None-Match")
        if none_match is not None and _names(none_match, etag):
            return Answer(304, b"", headers)
        headers["Content-Type"] = CONTENT_TYPE
        wanted = request.headers.get("Range")
        if_range = request.headers.get("If-Range", etag).strip()
        if if_range not in (etag, headers["Last-Modified"]):
            wanted = None
        try:
            span = requested_span(wanted, opened.size)
        except RangeNotSatisfiable:
            size = str(opened.size)
            answer = source_error(
                "InvalidRange", RangeRequested=wanted or "", ActualObjectSize=size
            )
            if self._settings.range_error_content_range:
                return answer.with_headers(Content_Range=f"bytes */{size}")
            return answer
        if span is None:
            return Answer(200, ByteSpan(opened, 0, opened.size), headers)
        headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{opened.size}"
        return Answer(206, ByteSpan(opened, *span), headers)


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in (one.strip() for one in header.split(","))


def string_to_sign(
    method: str,
    resource: str,
    expires: str,
    headers: Mapping[str, str],
    query: Iterable[tuple[str, str]] = (),
) -> str:
    """The text that client and host sign.

    :param resource: ``/`` + bucket + the undecoded path.
    :param expires: the ``Expires`` parameter as received.
    :param headers: request headers in any case.
    :param query: decoded parameters; only S3's sub-resources are signed.
    """
    lowered = {name.lower(): value.strip() for name, value in headers.items()}
    amazon = "".join(
        f"{name}:{lowered[name]}\n" for name in sorted(lowered) if name.startswith("x-amz-")
    )
    named = sorted((name, value) for name, value in query if name in _SUB_RESOURCES)
    suffix = "&".join(f"{name}={value}" if value else name for name, value in named)
    return (
        f"{method}\n{lowered.get('content-md5', '')}\n{lowered.get('content-type', '')}\n"
        f"{expires}\n{amazon}{resource}{'?' + suffix if suffix else ''}"
    )


def source_signature(secret: str, text: str) -> str:
    """Base64 of HMAC-SHA1 over ``text``: 28 characters."""
    mac = hmac.new(secret.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode("ascii")


def signed_url(
    base_url: str,
    object_key: str,
    expires: int,
    *,
    key_id: str,
    secret: str,
) -> str:
    """A URL below ``base_url`` that is valid for GET until ``expires``; it ends with ``&``."""
    path = "/" + quote(object_key, safe="")
    text = string_to_sign("GET", f"/{BUCKET}{path}", str(expires), {})
    signature = quote(source_signature(secret, text), safe="")
    query = f"Signature={signature}&Expires={expires}&AWSAccessKeyId={key_id}&"
    return f"{base_url.rstrip('/')}{path}?{query}"


def requested_span(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span that a ``Range`` header asks for; None for the whole object.

    An invalid header, or one with several ranges, is ignored: the answer is a 200, not an error.
    Numbers may have any length; a long one is beyond the end of every object.

    :raises RangeNotSatisfiable: the range starts at or beyond the end, or ``size`` is 0.
    """
    matched = _ONE_RANGE.fullmatch(header or "")
    if matched is None or matched.groups() == ("", ""):
        return None
    first, last = matched.groups()
    if not first:
        length = saturated(last)
        if length == 0 or size == 0:
            raise RangeNotSatisfiable
        return max(0, size - length), size
    start = saturated(first)
    stop = saturated(last) + 1 if last else size
    if last and stop <= start:
        return None
    if start >= size:
        raise RangeNotSatisfiable
    return start, min(stop, size)


def range_start(header: str | None) -> int | None:
    """The start of a ``Range`` header; None if it has none."""
    matched = _ONE_RANGE.fullmatch(header or "")
    return saturated(matched[1]) if matched and matched[1] else None


def source_error(code: str, message: str | None = None, **elements: str) -> Answer:
    """The answer for an S3 error code: a status and an XML document.

    :param message: S3's usual text unless given.
    :param elements: further elements of the document, in order.
    """
    status, usual = _ERRORS[code]
    headers = _amazon_headers()
    fields = {"Code": code, "Message": message or usual, **elements}
    fields |= {"RequestId": headers["x-amz-request-id"], "HostId": headers["x-amz-id-2"]}
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'
    body = document.encode("utf-8", "replace")
    return Answer(status, body, {"Content-Type": "application/xml", **headers})


def _amazon_headers() -> dict[str, str]:
    """The two ids of every S3 answer, and the server's name."""
    return {
        "x-amz-id-2": base64.b64encode(secrets.token_bytes(48)).decode("ascii"),
        "x-amz-request-id": secrets.token_hex(8).upper(),
        "Server": "AmazonS3",
    }
