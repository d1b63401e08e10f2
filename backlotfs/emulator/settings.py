"""Settings of one emulator: credentials, limits, switches for what the service may have done."""

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
    """A key of the service's shape: 28 characters (the account), a dot, 5 characters."""
    account = "".join(secrets.choice(_KEY_ALPHABET) for _ in range(28))
    return f"{account}.{''.join(secrets.choice(_KEY_ALPHABET) for _ in range(5))}"


def random_api_secret() -> str:
    """A secret of the service's shape: 40 characters of ``[A-Za-z0-9_-]``."""
    return secrets.token_urlsafe(30)


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """Everything that can be chosen about one emulator. Immutable; its ``repr`` hides secrets.

    :ivar host: address to listen on.
    :ivar port: port of the API and source side; 0 takes a free one.
    :ivar api_key: ``<28 characters>.<5 characters>``; random unless given.
    :ivar api_secret: signs API requests; random unless given.
    :ivar url_lifetime_s: how long a signed source URL lives (from 1 s up).
    :ivar dialect: ``"2013"`` writes every value of ``/streams`` as a string, ``"2017"`` natively.
    :ivar rate_limit: API calls per window; None switches the limit off.
    :ivar rate_window_s: length of the window, which opens with its first call.
    :ivar page_cap: most records a page holds, whatever ``limit`` asks for.
    :ivar exact_multiple: a full page that is the last one: ``"absent"`` gives no ``next_page``,
        ``"token_then_404"`` gives one that answers 404.
    :ivar stale_expires_status: status of the answer to a past ``expires`` (400 or 401).
    :ivar supports_where: False ignores ``where`` and ``orderby``, as the Video Cloud adapter did.
    :ivar lists_sources: ``include=streams`` puts what ``/streams`` answers into each listed record;
        the hosted service did not.
    :ivar source_base_url: sign URLs below this prefix instead of below the emulator's own address.
    :ivar range_error_content_range: whether a 416 carries ``Content-Range: bytes */size``.
    :ivar cdn: also listen on a second port as the CDN host: GETs only, no rate limit, answers
        kept for five minutes by their exact URL.
    :ivar head_timeout_s: longest time from the first byte of a request's head to its last.
    :ivar idle_timeout_s: how long a connection may wait for its first or next request.
    :ivar body_timeout_s: longest time for the body of a request.
    :ivar send_timeout_s: how long a client may take no byte of an answer that waits for it.
    :ivar max_connections: open at once; fewer where the limit of descriptors asks for it.
    :ivar max_connections_per_address: open at once from one client address.
    :ivar clock: seconds since the epoch; expiry, rate window and ``Date`` all read it.
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
        """Access key id in source URLs: AWS's documented example, recognisably not a real one."""
        return "AKIAIOSFODNN7EXAMPLE"

    @property
    def source_secret(self) -> str:
        """Secret that signs source URLs: made of ``api_secret``, so URLs outlive a restart."""
        digest = hashlib.sha256(b"source side\n" + self.api_secret.encode()).digest()
        return base64.b64encode(digest[:30]).decode("ascii")
