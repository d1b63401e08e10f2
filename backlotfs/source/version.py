# SPDX-License-Identifier: Apache-2.0
"""The version of a source object. Every byte that is kept or served belongs to one version."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from backlotfs.api.rate_limiter import http_date_s
from backlotfs.errors import ContentChanged

#: Longest ETag and ``Last-Modified`` that are kept as they are; usual ones have 40 characters.
MAX_VALIDATOR_CHARS = 256

#: One strong ETag in the form of RFC 9110 §8.8.3. If a host sends two, ``If-Match`` uses neither.
_STRONG_ETAG = re.compile(r'"[!#-~\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """One version of an asset's source object, as the source host describes it.

    :ivar size: bytes of the whole object, usually from ``Content-Range``, which wins over
        ``file_size``.
    :ivar etag: the ``ETag`` as sent, with its quotes, or None. A digest replaces an ETag that is
        too long or not printable (`version_of`).
    :ivar last_modified: the ``Last-Modified`` text, likewise, or None.
    :ivar validator: part of every cache key. It tells versions apart as far as the host's ETag,
        date and size allow.
    :ivar strong_etag: the ETag if ``If-Match`` can use it, or None: weak ones never match (RFC 9110
        §13.1.1).
    """

    embed_code: str
    size: int
    etag: str | None
    last_modified: str | None
    validator: str = field(init=False, repr=False, compare=False)
    strong_etag: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Made once, because the key of each block and each GET need them. A weak ETag may name
        # several versions, so the date is added to it.
        modified, etag = self.last_modified or "", self.etag or ""
        name = f"{etag} {modified}" if etag.startswith("W/") else etag or modified
        object.__setattr__(self, "validator", f"{name}/{self.size}")
        strong = self.etag if _STRONG_ETAG.fullmatch(etag) else None
        object.__setattr__(self, "strong_etag", strong)

    @property
    def opaque_tag(self) -> str | None:
        """The ETag without ``W/`` and quotes, for the weak comparison of RFC 9110 §8.8.3.2."""
        return None if self.etag is None else self.etag.removeprefix("W/").strip('"')

    @property
    def last_modified_s(self) -> int | None:
        """``Last-Modified`` in seconds since the epoch, or None when absent or unparsable."""
        seconds = http_date_s(self.last_modified)
        return None if seconds is None else int(seconds)

    def verify(self, headers: Mapping[str, str], total: int) -> None:
        """Check that an answer is of exactly this version.

        :param headers: of the answer, names in lower case.
        :param total: the object's size by the answer's ``Content-Range``.
        :raises ContentChanged: size or ETag differ, or Last-Modified if the ETag is weak or absent.
        """
        seen = version_of(self.embed_code, headers, total)
        if seen.validator != self.validator:
            raise ContentChanged(f"the source of {self.embed_code} was replaced")


def version_of(embed_code: str, headers: Mapping[str, str], total: int) -> SourceVersion:
    """The version that an answer's headers (names in lower case) describe.

    An ETag or date that is longer than `MAX_VALIDATOR_CHARS` or not printable is kept as a digest,
    because it is stored for each asset in memory, in the catalog and in the keys of its blocks.
    """
    etag, modified = headers.get("etag"), headers.get("last-modified")
    return SourceVersion(embed_code, total, _kept(etag), _kept(modified))


def _kept(value: str | None) -> str | None:
    if not value or (len(value) <= MAX_VALIDATOR_CHARS and value.isprintable()):
        return value or None
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    # without quotes, so that it is never sent
    return f"W/sha256-{digest}" if value.startswith("W/") else f"sha256-{digest}"
