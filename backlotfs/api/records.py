# SPDX-License-Identifier: Apache-2.0
"""The answers of the API as immutable records, and how they are read from JSON.

Parsing is pure and raises nothing but :class:`ProtocolViolation` and `MalformedJson`. Fields that
decide whether a file exists and which bytes it has (ids, names, types, sizes, URLs) are checked
strictly; other fields are dropped if they are malformed. On a page, a bad record is skipped with a
reason, and the other records are kept.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from backlotfs.api import untrusted_json as fields
from backlotfs.api.answers import one_line
from backlotfs.api.untrusted_json import read_page
from backlotfs.errors import ProtocolViolation
from backlotfs.untrusted_numbers import decimal_number

_MAX_LENGTH = 16_384  # no server or proxy takes a longer request line
_REDACTED = "?<redacted>"
#: What `sendable` encodes: characters that no URL may have, and that browsers encode everywhere.
_ENCODED = re.compile(r'[ "<>]|[^\x00-\x7f]')


@dataclass(frozen=True, slots=True, repr=False)
class SignedUrl:
    """A signed URL. Anybody who has it can read the file, so its texts never contain the query.

    Immutable; equal when the URLs are equal.

    :ivar url: as received, except for `sendable`; ``%2F`` and extra ``&`` are sent unchanged.
    :ivar expires_at_s: wall clock, seconds since the epoch; None: the URL has no ``Expires``.
    """

    url: str
    expires_at_s: float | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, url: str) -> SignedUrl:
        """Check a URL of an API answer and read its ``Expires``.

        :raises ProtocolViolation: the URL is not an absolute http(s) URL, has a password, is too
            long, or see `sendable`. The message does not contain the URL.
        """
        url = sendable(url)
        if len(url) > _MAX_LENGTH:
            raise ProtocolViolation(f"a source URL of {len(url)} characters")
        # the parser's own error quotes the URL and must not be the context of our error
        if not _has_http_host(url):
            raise ProtocolViolation(
                "a source URL that is not an absolute http or https URL, or has a password in it"
            )
        return cls(url, _expires_at_s(url))

    def __str__(self) -> str:
        """Host and path without the query: equal for two signatures of the same object."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.lower()}{parts.path}{_REDACTED}"

    def __repr__(self) -> str:
        return f"SignedUrl({self}, expires_at_s={self.expires_at_s})"


def sendable(url: str) -> str:
    """Percent-encode what a signer left unescaped; every other character stays as it is.

    Spaces, ``"<>`` and characters beyond ASCII are encoded (as UTF-8), as browsers do. White space
    around the URL is dropped.

    :raises ProtocolViolation: the URL has a control character or a lone surrogate, or its host name
        has a character that would be encoded. The message does not contain the URL.
    """
    url = url.strip(" \t\r\n")
    try:
        sent = _ENCODED.sub(lambda found: quote(found[0], safe=""), url)
    except UnicodeEncodeError:
        sent = "\0"  # raised below, without the URL in the error's context
    if not sent.isprintable():
        raise ProtocolViolation("a source URL with characters that no URL may have")
    host = re.split(r"[/?#\\]", url.partition("://")[2], maxsplit=1)[0]
    if _ENCODED.search(host):
        raise ProtocolViolation("a source URL whose host name is not written in ASCII")
    return sent


def _has_http_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # a name and password would be sent as an Authorization header, which S3 refuses
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


R = TypeVar("R")
# shared: otherwise a library of a million assets would have a million empty mappings
NO_METADATA: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Label:
    """A folder-like tag of the library.

    :ivar id: the label's id; siblings may share a name, never an id.
    :ivar name: may hold ``/`` and ``,``.
    :ivar full_name: for people to read; build the tree from ``parent_id``.
    :ivar parent_id: None at the top level.
    """

    id: str
    name: str
    full_name: str
    parent_id: str | None


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset of the library. Its record has no size, unless it includes the source.

    :ivar embed_code: the id.
    :ivar title: ``""`` when absent; may contain newlines.
    :ivar original_file_name: as uploaded, any characters; None for types without a source.
    :ivar asset_type: ``video``, ``audio``, ``ad``, ``channel`` …; ``""`` when absent.
    :ivar status: ``live``, ``paused``, ``processing`` …; ``""`` when absent.
    :ivar created_at_s: seconds since the epoch; 0 when it cannot be parsed.
    :ivar updated_at_s: likewise; changes when the source is replaced.
    :ivar duration_ms: 0 for channels and unprocessed assets.
    :ivar metadata: empty unless requested with ``include=metadata``.
    :ivar labels: None unless requested with ``include=labels``; None if malformed or too many.
    :ivar source: None unless requested with ``include=streams``, which few servers support.
    """

    embed_code: str
    title: str
    original_file_name: str | None
    asset_type: str
    status: str
    created_at_s: int
    updated_at_s: int
    duration_ms: int
    description: str | None = None
    external_id: str | None = None
    preview_image_url: str | None = None
    # a mapping has no hash; the other fields distinguish assets well enough
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA, hash=False)
    labels: tuple[Label, ...] | None = None
    source: Source | None = field(default=None, compare=False)

    @property
    def parts(self) -> int:
        """Number of labels and custom fields, which need memory in addition to the texts."""
        return len(self.labels or ()) + len(self.metadata)


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """One page of a listing of assets, labels or deletions.

    :ivar skipped: for each record that could not be used, which one it is and why; at most
        `MAX_REASONS`.
    :ivar next_page: the URL of the next page as received; None on the last page.
    :ivar skipped_more: number of further records that could not be used.
    :ivar size_bytes: size of the unpacked answer.
    """

    items: tuple[R, ...]
    skipped: tuple[str, ...]
    next_page: str | None
    skipped_more: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeletedAsset:
    """An asset that was deleted recently.

    :ivar deleted_at_s: seconds since the epoch; 0 when it cannot be parsed.
    """

    embed_code: str
    deleted_at_s: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where an asset's original file is.

    :ivar url: None when the API names a source and gives no URL for it.
    :ivar file_size: in bytes, from the API; the ``Content-Range`` of the source overrides it.
    :ivar original_file_name: only from ``source_file_info``.
    """

    url: SignedUrl | None
    file_size: int | None
    original_file_name: str | None = None


# real ids have 32 characters; a file name of 255 bytes has room for a name and an id of this size
_MAX_ID_BYTES = 128
#: Bad records of a page that are named; the others are counted.
MAX_REASONS = 10
#: Most labels and most custom fields of one asset; a real asset has a dozen.
MAX_LABELS, MAX_METADATA = 1000, 1000
#: Most labels and custom fields of all assets of a page. A label can be 12 characters of text and
#: needs 20 times as much memory.
MAX_PARTS = 500_000


def is_identifier(text: str) -> bool:
    """Whether ``text`` can be an embed code or label id, which URLs and file names contain."""
    return (
        text not in ("", ".", "..")
        and "/" not in text
        and text.isprintable()
        and len(text.encode("utf-8", "replace")) <= _MAX_ID_BYTES
    )


def parse_asset(obj: object) -> Asset:
    """An asset object of a listing or of ``/v2/assets/:id``.

    :raises ProtocolViolation: no usable ``embed_code``, or a name, type or status that is no text.
    """
    record = fields.as_object(obj, "asset")
    return Asset(
        embed_code=_identifier(record, "embed_code"),
        title=fields.text(record, "name") or "",
        original_file_name=fields.text(record, "original_file_name"),
        asset_type=fields.text(record, "asset_type") or "",
        status=fields.text(record, "status") or "",
        created_at_s=fields.epoch_s(record, "created_at"),
        updated_at_s=fields.epoch_s(record, "updated_at"),
        duration_ms=fields.optional_integer(record, "duration"),
        description=fields.optional_text(record, "description"),
        external_id=fields.optional_text(record, "external_id"),
        preview_image_url=fields.optional_text(record, "preview_image_url"),
        metadata=_metadata(record.get("metadata")),
        labels=_included_labels(record.get("labels")),
        source=_included_source(record.get("streams")),
    )


def parse_asset_page(body: bytes) -> Page[Asset]:
    """An answer of ``/v2/assets`` or ``/v2/labels/:id/assets``.

    :raises MalformedJson: the body is not complete JSON.
    :raises ProtocolViolation: the body is not a page, or exceeds the limits of a page.
    """
    return _page(body, parse_asset, "embed_code", lambda asset: asset.parts)


def parse_deleted_page(body: bytes) -> Page[DeletedAsset]:
    """An answer of ``/v2/deleted_assets``.

    :raises MalformedJson: the body is not complete JSON.
    :raises ProtocolViolation: the body is not a page, or exceeds the limits of a page.
    """
    return _page(body, _deleted_asset, "embed_code")


def parse_label(obj: object) -> Label:
    """A label object.

    :raises ProtocolViolation: no usable ``id`` or ``parent_id``, or a name that is no text.
    """
    record = fields.as_object(obj, "label")
    parent = record.get("parent_id")
    return Label(
        id=_identifier(record, "id"),
        name=fields.text(record, "name") or "",
        full_name=fields.text(record, "full_name") or "",
        parent_id=None if parent in (None, "") else _identifier(record, "parent_id"),
    )


def parse_labels(body: bytes) -> Page[Label]:
    """An answer of ``/v2/labels``, ``/v2/labels/:id/children`` or ``/v2/assets/:id/labels``.

    :raises MalformedJson: the body is not complete JSON.
    :raises ProtocolViolation: the body is not a page, or exceeds the limits of a page.
    """
    return _page(body, parse_label, "id")


def parse_streams(obj: object) -> Source | None:
    """The source entry of ``/v2/assets/:id/streams``, at any position; None if there is none.

    Of several source entries, the first one with a URL is used.

    :raises ProtocolViolation: no array, or a source entry with an invalid size or URL.
    """
    entries = [entry for entry in fields.as_array(obj, "streams") if isinstance(entry, dict)]
    sources = [
        Source(_url(entry, "url"), fields.integer(entry, "file_size"))
        for entry in entries
        if fields.flag(entry, "is_source")
    ]
    return next((source for source in sources if source.url), sources[0] if sources else None)


def parse_source_file_info(obj: object) -> Source:
    """An answer of ``/v2/assets/:id/source_file_info``.

    :raises ProtocolViolation: no object, or an invalid size, URL or name.
    """
    record = fields.as_object(obj, "source_file_info")
    return Source(
        url=_url(record, "source_file_url"),
        file_size=fields.integer(record, "file_size"),
        original_file_name=fields.text(record, "original_file_name"),
    )


def _page(
    body: bytes,
    parse: Callable[[object], R],
    id_field: str,
    parts_of: Callable[[R], int] = lambda _record: 0,
) -> Page[R]:
    good: list[R] = []
    reasons: list[str] = []
    bad = parts = 0

    def take(item: object) -> None:
        nonlocal bad, parts
        if parts > MAX_PARTS:
            raise ProtocolViolation(f"more than {MAX_PARTS} labels and custom fields on a page")
        try:
            good.append(parse(item))
            parts += parts_of(good[-1])
        except ProtocolViolation as error:
            bad += 1
            if bad <= MAX_REASONS:
                number = len(good) + bad
                reasons.append(f"record {number}{_named(item, id_field)}: {error}")

    document = fields.as_object(read_page(body, take), "page")
    fields.as_array(document.get("items"), "items")
    next_page = fields.text(document, "next_page") or None
    return Page(tuple(good), tuple(reasons), next_page, bad - len(reasons), len(body))


def _named(item: object, id_field: str) -> str:
    found = item.get(id_field) if isinstance(item, dict) else None
    return f" ({id_field} {one_line(found, 60)!r})" if isinstance(found, str) and found else ""


def _deleted_asset(obj: object) -> DeletedAsset:
    record = fields.as_object(obj, "deleted asset")
    return DeletedAsset(_identifier(record, "embed_code"), fields.epoch_s(record, "deleted_at"))


def _identifier(record: Mapping[str, object], field: str) -> str:
    value = record.get(field)
    if isinstance(value, str) and is_identifier(value):
        return value
    raise ProtocolViolation(f"{field}: not usable as an id")


def _url(record: Mapping[str, object], field: str) -> SignedUrl | None:
    value = record.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ProtocolViolation(f"{field}: expected a URL, got another type")
    try:
        return SignedUrl.parse(value)
    except ProtocolViolation as error:
        raise ProtocolViolation(f"{field}: {error}") from None


def _metadata(value: object) -> Mapping[str, str]:
    pairs = value if isinstance(value, dict) else {}
    keys = [key for key in itertools.islice(pairs, MAX_METADATA) if isinstance(key, str)]
    known = {fields.shortened(key): fields.optional_text(pairs, key) for key in keys}
    usable = {key: found for key, found in known.items() if found is not None}
    return MappingProxyType(usable) if usable else NO_METADATA


def _included_source(value: object) -> Source | None:
    """The source in a listed record; None: the record has no usable source."""
    if not isinstance(value, list):
        return None
    try:
        source = parse_streams(value)
    except ProtocolViolation:  # the source can still be requested by its own route
        return None
    return source if source is not None and source.url is not None else None


def _included_labels(value: object) -> tuple[Label, ...] | None:
    if not isinstance(value, list) or len(value) > MAX_LABELS:
        return None
    try:
        return tuple(parse_label(item) for item in value)
    except ProtocolViolation:
        # The form of a label here is not documented. With only a part of its labels, the asset
        # would be missing from folders.
        return None
