"""The source side: S3 as far as a signed GET reaches. Decides answers; sends nothing.

Order of checks: one kind of credentials, all three parameters, a readable date, expiry, key id,
signature; then the object, its validators, the range. Expiry is judged here only, when a request
starts: a transfer under way outlives its URL.
"""

from __future__ import annotations

from urllib.parse import unquote

from backlotfs.emulator.content import OpenContent
from backlotfs.emulator.http_types import Answer, ByteSpan, ReceivedRequest
from backlotfs.emulator.library import Library
from backlotfs.emulator.numbers_and_dates import http_date, iso_time, moment_of_header, whole_number
from backlotfs.emulator.range_header import RangeNotSatisfiable, requested_span
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.source_errors import amazon_headers, source_error
from backlotfs.emulator.source_signing import BUCKET, source_signature, string_to_sign
from backlotfs.emulator.source_url import SourceUrls

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
