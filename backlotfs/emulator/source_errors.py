"""Error documents of the source side: S3's XML, with the codes clients tell apart."""

from __future__ import annotations

import base64
import secrets
from xml.sax.saxutils import escape

from backlotfs.emulator.http_types import Answer

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
