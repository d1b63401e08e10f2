"""S3 query-string authentication, Signature V2: minting source URLs and checking them. Pure.

The signed resource is ``/cms.ooyala.com`` and the path *as received*, undecoded: the name the
bucket had, whatever address the emulator listens on.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.parse import quote

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
