"""How the API checks a request's signature (V2). Pure; written from the reference, not the client.

Signed text: secret, METHOD, path, then ``name=value`` of every parameter but ``signature``, sorted
by name, with nothing in between, then the body. SHA-256 of that, raw, in Base64, 43 characters.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

SIGNATURE_LENGTH = 43


def api_signature(
    secret: str, method: str, path: str, parameters: Iterable[tuple[str, str]], body: bytes = b""
) -> str:
    """The signature this request has to carry, before percent-encoding.

    :param path: the path as received, undecoded, without the query.
    :param parameters: decoded (name, value) pairs; ``signature`` is left out by this function.
    """
    pairs = sorted((name, value) for name, value in parameters if name != "signature")
    text = secret + method.upper() + path + "".join(f"{name}={value}" for name, value in pairs)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape") + body).digest()
    return base64.b64encode(digest).decode("ascii")[:SIGNATURE_LENGTH].rstrip("=")


def signature_matches(expected: str, given: str) -> bool:
    """Whether ``given`` is the signature; trailing ``=`` do not matter. Constant time."""
    return hmac.compare_digest(
        expected.encode("ascii"), given.rstrip("=").encode("utf-8", "surrogateescape")
    )
