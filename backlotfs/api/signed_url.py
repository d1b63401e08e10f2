"""A signed URL of a source file: kept byte for byte, shown without its query."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from backlotfs.errors import ProtocolViolation
from backlotfs.untrusted_numbers import decimal_number

_MAX_LENGTH = 16_384  # no server or proxy takes a longer request line
_REDACTED = "?<redacted>"


@dataclass(frozen=True, slots=True, repr=False)
class SignedUrl:
    """Whoever holds the URL may read the file until it expires, so it never shows its query.

    Immutable; equal when the URLs are equal.

    :ivar url: as received; it must be sent unchanged, ``%2F`` and stray ``&`` included.
    :ivar expires_at_s: wall clock, seconds since the epoch; None when the URL does not say.
    """

    url: str
    expires_at_s: float | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, url: str) -> SignedUrl:
        """Check a URL that an API answer holds and read its ``Expires``.

        :raises ProtocolViolation: not an absolute http(s) URL, or not sendable as it stands.
            The message does not hold the URL.
        """
        if len(url) > _MAX_LENGTH:
            raise ProtocolViolation(f"a source URL of {len(url)} characters")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ProtocolViolation("a source URL with characters that no URL may have")
        # the parser's own error would quote the URL, and would stay in our error's context
        if not _has_http_host(url):
            raise ProtocolViolation("a source URL that is not an absolute http or https URL")
        return cls(url, _expires_at_s(url))

    @property
    def identity(self) -> str:
        """``host/path`` as received: equal for two signatures of the same object."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.lower()}{parts.path}"

    def __str__(self) -> str:
        return self.identity + _REDACTED

    def __repr__(self) -> str:
        return f"SignedUrl({self}, expires_at_s={self.expires_at_s})"


def _has_http_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # a name and password in it would be sent as an Authorization header, which S3 refuses
        plain = bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False
    return plain and parts.scheme in ("http", "https")


def _expires_at_s(url: str) -> float | None:
    try:
        pairs = parse_qsl(urlsplit(url).query, errors="replace", max_num_fields=100)
        stated = [decimal_number(value) for name, value in pairs if name.lower() == "expires"]
    except ValueError:
        return None
    return min((moment for moment in stated if moment is not None), default=None)
