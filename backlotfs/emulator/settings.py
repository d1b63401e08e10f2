# SPDX-License-Identifier: Apache-2.0
"""Settings of an emulator: credentials, limits, and variants of what the real service did."""

from __future__ import annotations

import base64
import hashlib
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

_KEY_ALPHABET = string.ascii_letters + string.digits


def random_api_key() -> str:
    """A random key in the form of the service: 28 characters (the account), a dot, 5 characters."""
    account = "".join(secrets.choice(_KEY_ALPHABET) for _ in range(28))
    return f"{account}.{''.join(secrets.choice(_KEY_ALPHABET) for _ in range(5))}"


def random_api_secret() -> str:
    """A random secret in the form of the service: 40 characters of ``[A-Za-z0-9_-]``."""
    return secrets.token_urlsafe(30)


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """The settings of one emulator. Immutable; its ``repr`` hides the secret.

    :ivar host: address to listen on.
    :ivar port: port of the API and the source host; 0 for a free one.
    :ivar api_key: ``<28 characters>.<5 characters>``; the default is random.
    :ivar api_secret: signs API requests; the default is random.
    :ivar url_lifetime_s: seconds until a signed source URL expires (at least 1).
    :ivar dialect: the types in ``/streams``: strings only (``"2013"``), or those of JSON.
    :ivar rate_limit: API calls per window; None for no limit.
    :ivar rate_window_s: length of the window, which begins with its first call.
    :ivar page_cap: most records of a page, even if ``limit`` is larger.
    :ivar exact_multiple: if the last page is full: ``"absent"`` gives no ``next_page``,
        ``"token_then_404"`` gives one that answers 404.
    :ivar stale_expires_status: status of the answer to a past ``expires`` (400 or 401).
    :ivar supports_where: False ignores ``where`` and ``orderby``, as the Video Cloud adapter did.
    :ivar lists_sources: ``include=streams`` adds the answer of ``/streams`` to each listed record;
        the hosted service did not.
    :ivar source_base_url: prefix of signed URLs instead of the emulator's own address.
    :ivar range_error_content_range: whether a 416 has ``Content-Range: bytes */size``.
    :ivar cdn: also listen on a second port as the CDN host: GETs only, no rate limit, answers
        cached for five minutes by their exact URL.
    :ivar head_timeout_s: time limit for the head of a request, from its first byte on.
    :ivar idle_timeout_s: time limit of a connection that waits for its first or next request.
    :ivar body_timeout_s: time limit for the body of a request.
    :ivar send_timeout_s: time limit of a client that receives nothing of its answer.
    :ivar max_connections: most connections at once; fewer if descriptors are limited.
    :ivar max_connections_per_address: most connections at once from one client address.
    :ivar clock: seconds since the epoch, for expiry, the rate window and ``Date``.
    """

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str = field(default_factory=random_api_key)
    api_secret: str = field(default_factory=random_api_secret, repr=False)
    url_lifetime_s: float = 72 * 3600.0
    dialect: Literal["2013", "2017"] = "2017"
    rate_limit: int | None = 300
    rate_window_s: float = 60.0
    page_cap: int = 500
    exact_multiple: Literal["absent", "token_then_404"] = "absent"
    stale_expires_status: int = 400
    supports_where: bool = True
    lists_sources: bool = False
    source_base_url: str | None = None
    range_error_content_range: bool = False
    cdn: bool = True
    head_timeout_s: float = 15.0
    idle_timeout_s: float = 75.0
    body_timeout_s: float = 30.0
    send_timeout_s: float = 60.0
    max_connections: int = 1024
    max_connections_per_address: int = 256
    clock: Callable[[], float] = time.time

    @property
    def source_key_id(self) -> str:
        """Access key id in source URLs: the example of AWS's documentation, not a real one."""
        return "AKIAIOSFODNN7EXAMPLE"

    @property
    def source_secret(self) -> str:
        """Secret for source URLs, computed from ``api_secret``: URLs are valid over restarts."""
        digest = hashlib.sha256(b"source side\n" + self.api_secret.encode()).digest()
        return base64.b64encode(digest[:30]).decode("ascii")
