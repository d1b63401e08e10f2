"""From JSON to records. Pure; raises nothing but :class:`ProtocolViolation` and `MalformedJson`.

What a file's existence or bytes hang on (ids, names, sizes, URLs) is strict; what only decorates
it is dropped when it makes no sense. On a page, a bad record is skipped with a reason and the
page lives.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from backlotfs.api import json_fields as fields
from backlotfs.api.bounded_json import read_page
from backlotfs.api.records import NO_METADATA, Asset, DeletedAsset, Label, Page, Source
from backlotfs.api.server_text import one_line
from backlotfs.api.signed_url import SignedUrl
from backlotfs.errors import ProtocolViolation

R = TypeVar("R")
# the real ones have 32 characters; this much still fits a file name of 255 bytes beside a name
_MAX_ID_BYTES = 128
#: Bad records of a page that are named; the others are counted.
MAX_REASONS = 10
#: Labels and custom metadata of one asset; a real one has a dozen.
MAX_LABELS, MAX_METADATA = 1000, 1000
#: Of all assets of a page: a label is 12 characters and, as an object, 20 times as much.
MAX_PARTS = 500_000


def is_identifier(text: str) -> bool:
    """Whether ``text`` can be an embed code or label id: it goes into URLs and file names."""
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

    :raises MalformedJson: it is no whole JSON.
    :raises ProtocolViolation: when it is no page at all.
    """
    return _page(body, parse_asset, "embed_code", lambda asset: asset.parts)


def parse_deleted_page(body: bytes) -> Page[DeletedAsset]:
    """An answer of ``/v2/deleted_assets``.

    :raises MalformedJson: it is no whole JSON.
    :raises ProtocolViolation: when it is no page at all.
    """
    return _page(body, _deleted_asset, "embed_code")


def parse_label(obj: object) -> Label:
    """A label object.

    :raises ProtocolViolation: no usable ``id``, or a name that is no text.
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

    :raises MalformedJson: it is no whole JSON.
    :raises ProtocolViolation: when it is no page at all.
    """
    return _page(body, parse_label, "id")


def parse_streams(obj: object) -> Source | None:
    """The source entry, wherever it is, of ``/v2/assets/:id/streams``; None without one.

    Of several source entries the first that has a URL counts.

    :raises ProtocolViolation: no array, or a source entry whose size or URL cannot be.
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

    :raises ProtocolViolation: no object, or a size, URL or name that cannot be.
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
    """The source that a listed record carries; None where it carries none that can be used."""
    if not isinstance(value, list):
        return None
    try:
        source = parse_streams(value)
    except ProtocolViolation:  # it can still be asked for by its own route
        return None
    return source if source is not None and source.url is not None else None


def _included_labels(value: object) -> tuple[Label, ...] | None:
    if not isinstance(value, list) or len(value) > MAX_LABELS:
        return None
    try:
        return tuple(parse_label(item) for item in value)
    except ProtocolViolation:
        # the element's shape is undocumented; a part of an asset's labels would misplace it
        return None
