"""The source side: S3 as far as a signed GET reaches."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Literal
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from backlotfs.emulator.assets import EmulatedAsset
from backlotfs.emulator.content import OpenContent
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

_STATUS = {
    "AccessDenied": 403,
    "SignatureDoesNotMatch": 403,
    "InvalidAccessKeyId": 403,
    "NoSuchKey": 404,
    "MethodNotAllowed": 405,
    "PreconditionFailed": 412,
    "InvalidRange": 416,
    "InvalidArgument": 400,
    "KeyTooLongError": 400,
    "InternalError": 500,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
}
_MESSAGE = {
    "AccessDenied": "Access Denied",
    "SignatureDoesNotMatch": "The request signature we calculated does not match the signature "
    "you provided. Check your key and signing method.",
    "InvalidAccessKeyId": "The AWS Access Key Id you provided does not exist in our records.",
    "NoSuchKey": "The specified key does not exist.",
    "MethodNotAllowed": "The specified method is not allowed against this resource.",
    "PreconditionFailed": "At least one of the pre-conditions you specified did not hold",
    "InvalidRange": "The requested range is not satisfiable",
    "InvalidArgument": "Only one auth mechanism allowed",
    "KeyTooLongError": "Your key is too long.",
    "InternalError": "We encountered an internal error. Please try again.",
    "ServiceUnavailable": "Service is unable to handle request.",
    "SlowDown": "Please reduce your request rate.",
}


def amazon_headers() -> dict[str, str]:
    """The two ids that every S3 answer carries, and the server's name."""
    return {
        "x-amz-id-2": base64.b64encode(secrets.token_bytes(48)).decode("ascii"),
        "x-amz-request-id": secrets.token_hex(8).upper(),
        "Server": "AmazonS3",
    }


def source_error(code: str, message: str | None = None, **elements: str) -> Answer:
    """The answer for an S3 error code.

    :param message: S3's usual text unless given.
    :param elements: further elements of the document, in order.
    :raises KeyError: for a code that is not in the table.
    """
    headers = amazon_headers()
    fields = {"Code": code, "Message": message or _MESSAGE[code], **elements}
    fields |= {"RequestId": headers["x-amz-request-id"], "HostId": headers["x-amz-id-2"]}
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'
    body = document.encode("utf-8", "replace")
    return Answer(_STATUS[code], body, {"Content-Type": "application/xml", **headers})


BUCKET = "cms.ooyala.com"

_SUB_RESOURCES = frozenset(
    {
        "acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber",
        "policy", "requestPayment", "response-cache-control", "response-content-disposition",
        "response-content-encoding", "response-content-language", "response-content-type",
        "response-expires", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning",
        "versions", "website",
    }
)  # fmt: skip  # one name a line would be a page
"""Query parameters that S3 counts as part of the resource."""


def string_to_sign(
    method: str,
    resource: str,
    expires: str,
    headers: Mapping[str, str],
    query: Iterable[tuple[str, str]] = (),
) -> str:
    """The text that both sides sign.

    :param resource: ``/`` + bucket + the undecoded path.
    :param expires: the ``Expires`` parameter as received.
    :param headers: request headers, looked up without regard to case.
    :param query: decoded parameters; only S3's sub-resources take part.
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


def object_path(object_key: str) -> str:
    """Path of an object's URL: the ``/`` of the key goes as ``%2F``."""
    return "/" + quote(object_key, safe="")


def signed_url(
    base_url: str,
    object_key: str,
    expires: int,
    *,
    key_id: str,
    secret: str,
    order: Literal["2013", "2016"] = "2016",
) -> str:
    """A URL below ``base_url`` that is good for GET until ``expires``, trailing ``&`` included."""
    path = object_path(object_key)
    text = string_to_sign("GET", f"/{BUCKET}{path}", str(expires), {})
    signature = f"Signature={quote(source_signature(secret, text), safe='')}"
    dates, key = f"Expires={expires}", f"AWSAccessKeyId={key_id}"
    parts = (signature, key, dates) if order == "2013" else (signature, dates, key)
    return f"{base_url.rstrip('/')}{path}?{'&'.join(parts)}&"


class SourceUrls:
    """Hands out URLs and judges their ``Expires``. Thread-safe.

    ``expire_all`` keeps no list: it remembers the latest ``Expires`` handed out, counts everything
    up to it as past, and gives later URLs a later one.
    """

    def __init__(self, settings: EmulatorSettings) -> None:
        """Nothing is handed out yet."""
        self._settings = settings
        self._lock = Lock()
        self._latest = 0
        self._dead_through = 0

    def mint(self, asset: EmulatedAsset, base_url: str) -> str:
        """A fresh URL of the asset's source; a new ``Expires`` is taken from the clock each time.

        :param base_url: prefix for the URL, unless the settings name another.
        """
        settings = self._settings
        with self._lock:
            expires = math.ceil(settings.clock() + settings.url_lifetime_s)
            expires = max(expires, self._dead_through + 1)
            self._latest = max(self._latest, expires)
        return signed_url(
            settings.source_base_url or base_url,
            asset.object_key,
            expires,
            key_id=settings.source_key_id,
            secret=settings.source_secret,
            order=settings.query_order,
        )

    def expire_all(self) -> None:
        """Every URL handed out until now counts as expired."""
        with self._lock:
            self._dead_through = max(self._dead_through, self._latest)

    def is_expired(self, expires: int) -> bool:
        """Whether a URL with this ``Expires`` is past its time."""
        with self._lock:
            return expires <= self._dead_through or self._settings.clock() > expires


_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE | re.ASCII)


class RangeNotSatisfiable(Exception):
    """The range is well formed and no byte of the object lies in it (416)."""


def requested_span(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span that ``header`` asks for, or None when the whole object is meant.

    A malformed header and one with several ranges are ignored: that is a 200, not an error. A
    number of any length is one: it is past the end of every object.

    :raises RangeNotSatisfiable: when it starts at or past the end, or ``size`` is 0.
    """
    matched = _ONE_RANGE.fullmatch(header or "")
    if matched is None:
        return None
    first, last = matched.groups()
    if not first and not last:
        return None
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
    """Where a ``Range`` header starts, without knowing the object; None when it does not say."""
    matched = _ONE_RANGE.fullmatch(header or "")
    return saturated(matched[1]) if matched and matched[1] else None


MOST_PATH_BYTES = 4096
"""Of a path; S3's keys have at most 1024 bytes, three times that when percent-encoded."""

CONTENT_TYPE = "binary/octet-stream"  # S3's own default; what the real objects had is unknown


class SourceSide:
    """Answers requests for source objects. Thread-safe; the answer's content has to be closed."""

    def __init__(self, settings: EmulatorSettings, library: Library, urls: SourceUrls) -> None:
        """Serve the sources of ``library``."""
        self._settings = settings
        self._library = library
        self._urls = urls

    def answer(self, request: ReceivedRequest) -> Answer:
        """The answer to a request that was not refused. It may open a file."""
        if request.method != "GET":  # only our own tests can sign one: URLs are signed for GET
            return source_error("MethodNotAllowed")
        key = unquote(request.raw_path, errors="surrogateescape").lstrip("/")
        content = self._library.object(key)
        if content is None:
            return source_error("NoSuchKey", Key=key)
        try:
            opened = content.open()
        except OSError:
            return source_error("NoSuchKey", Key=key)
        answer = self._object_answer(request, opened)
        if not isinstance(answer.body, ByteSpan):
            opened.close()
        return answer

    def refusal(self, request: ReceivedRequest) -> Answer | None:
        """The answer to a request without good credentials, else None. Quick."""
        if len(request.raw_path) > MOST_PATH_BYTES:
            return source_error("KeyTooLongError")
        parameters = request.parameters
        values = dict(parameters)
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
            return source_error(
                "AccessDenied", f"Invalid date (should be seconds since epoch): {expires[:40]}"
            )
        now = self._settings.clock()
        if self._urls.is_expired(until):
            shown = min(until, int(now) - 1)  # a URL declared dead names a future date
            return source_error(
                "AccessDenied",
                "Request has expired",
                Expires=iso_time(shown),
                ServerTime=iso_time(now),
            )
        if values["AWSAccessKeyId"] != self._settings.source_key_id:
            return source_error("InvalidAccessKeyId", AWSAccessKeyId=values["AWSAccessKeyId"])
        text = string_to_sign(
            request.method, f"/{BUCKET}{request.raw_path}", expires, request.headers, parameters
        )
        if source_signature(self._settings.source_secret, text) != values["Signature"]:
            return source_error(
                "SignatureDoesNotMatch",
                AWSAccessKeyId=values["AWSAccessKeyId"],
                StringToSign=text,
                SignatureProvided=values["Signature"],
                StringToSignBytes=text.encode("utf-8", "surrogateescape").hex(" "),
            )
        return None

    def _object_answer(self, request: ReceivedRequest, opened: OpenContent) -> Answer:
        headers = {
            **amazon_headers(),
            "Last-Modified": http_date(opened.last_modified),
            "ETag": opened.etag,
            "Accept-Ranges": "bytes",
        }
        match = request.headers.get("If-Match")
        if match is not None and not _names(match, opened.etag):
            return source_error("PreconditionFailed", Condition="If-Match")
        since = moment_of_header(request.headers.get("If-Unmodified-Since"))
        if match is None and since is not None and opened.last_modified > since:
            return source_error("PreconditionFailed", Condition="If-Unmodified-Since")
        none_match = request.headers.get("If-None-Match")
        if none_match is not None and _names(none_match, opened.etag):
            return Answer(304, b"", headers)
        headers["Content-Type"] = CONTENT_TYPE
        wanted = request.headers.get("Range")
        if_range = request.headers.get("If-Range")
        if if_range is not None and if_range.strip() not in (
            opened.etag,
            headers["Last-Modified"],
        ):
            wanted = None
        try:
            span = requested_span(wanted, opened.size)
        except RangeNotSatisfiable:
            return self._range_error(wanted or "", opened)
        if span is None:
            return Answer(200, ByteSpan(opened, 0, opened.size), headers)
        headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{opened.size}"
        return Answer(206, ByteSpan(opened, *span), headers)

    def _range_error(self, wanted: str, opened: OpenContent) -> Answer:
        answer = source_error(
            "InvalidRange", RangeRequested=wanted, ActualObjectSize=str(opened.size)
        )
        if self._settings.range_error_content_range:
            return answer.with_headers(Content_Range=f"bytes */{opened.size}")
        return answer


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in (one.strip() for one in header.split(","))
