# SPDX-License-Identifier: Apache-2.0
"""The API key with its secret, and the signatures of Backlot V2 requests. Pure.

A signature is the first 43 characters of Base64 over the *raw* SHA-256 digest of secret, method,
path, sorted ``name=value`` pairs without separators, and body. (The vendor's text says that the
hex form of the digest is encoded instead; no known server accepts such a signature.)
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from backlotfs.errors import SettingsError


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The API key and secret that sign requests. Immutable; its text shows only the account.

    :ivar api_key: ``<account>.<suffix>``; a rotated key keeps its account.
    :ivar api_secret: never shown, logged or sent.
    """

    api_key: str
    api_secret: str

    def __post_init__(self) -> None:
        """Check both values: a copied newline or an empty variable makes them unusable.

        :raises SettingsError: a value is unusable; the message names the field, never its value.
        """
        for name, value in (("API key", self.api_key), ("API secret", self.api_secret)):
            if not value:
                raise SettingsError(f"the {name} is empty; give it by the environment or a profile")
            if not value.isprintable() or any(letter.isspace() for letter in value):
                raise SettingsError(
                    f"the {name} holds a space or a control character; copy it again, without"
                )

    @property
    def account(self) -> str:
        """The part of the key before the dot: the same for every key of one account."""
        return self.api_key.partition(".")[0]

    def __repr__(self) -> str:
        return f"Credentials({self.account}.***, ***)"


SIGNATURE_LENGTH = 43  # 44 Base64 characters of 32 bytes, less the one "="
_WINDOW_S = 300  # as in the vendor's SDKs: URLs are equal for 5 minutes, so a CDN can cache them
_LEAST_LIFETIME_S = 15


def sign(secret: str, method: str, path: str, params: Mapping[str, str], body: bytes = b"") -> str:
    """The signature of a request: 43 characters, not percent-encoded.

    :param path: as it is sent, without query: ``/v2/assets``.
    :param params: decoded query parameters; ``signature`` itself is left out.
    """
    pairs = "".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
    text = f"{secret}{method.upper()}{path}{pairs}"
    # "replace", as for quote() below: the signed bytes are the bytes that are sent
    digest = hashlib.sha256(text.encode("utf-8", "replace") + body).digest()
    return base64.b64encode(digest).decode("ascii")[:SIGNATURE_LENGTH].rstrip("=")


def round_expires(now_s: float) -> int:
    """An ``expires`` from 15 s to 315 s ahead, the same within each 5 minutes.

    :param now_s: seconds since the epoch.
    """
    soonest = int(now_s) + _LEAST_LIFETIME_S
    return soonest + _WINDOW_S - soonest % _WINDOW_S


def signed_query(
    credentials: Credentials, method: str, path: str, params: Mapping[str, str], *, expires: int
) -> str:
    """The percent-encoded query string, with ``api_key``, ``expires`` and ``signature``.

    Names and values are UTF-8; a space is ``%20``. Holds a signature: never log it.

    :param expires: seconds since the epoch.
    """
    every = {**params, "api_key": credentials.api_key, "expires": str(expires)}
    every["signature"] = sign(credentials.api_secret, method, path, every)
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in every.items())


def _quoted(text: str) -> str:
    return quote(text, safe="", encoding="utf-8", errors="replace")
