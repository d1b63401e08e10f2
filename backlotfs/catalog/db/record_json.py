"""The parts of an API record that nothing selects by, as one JSON text. Pure.

Fields at their defaults are left out. The same record always gives the same text, so two texts
tell whether a record changed. Non-ASCII is escaped: half a surrogate pair in a title survives.
"""

from __future__ import annotations

import json
import sqlite3
from types import MappingProxyType
from typing import Any, NamedTuple

from backlotfs.api.records import NO_METADATA, Asset, Label

_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


class DamagedRecord(sqlite3.DatabaseError):
    """A stored document is not what `documents_of` writes: the file is damaged."""


class Documents(NamedTuple):
    """The JSON texts of an asset; ``labels`` is None when the API was not asked for them."""

    body: str
    labels: str | None


class Columns(NamedTuple):
    """The fields of an asset that have columns of their own; see `api.records.Asset`."""

    embed_code: str
    asset_type: str
    status: str
    created_at_s: int
    updated_at_s: int


def documents_of(asset: Asset) -> Documents:
    """Everything of ``asset`` that is not in `Columns`."""
    body: dict[str, object] = {}
    if asset.title:
        body["title"] = asset.title
    if asset.original_file_name is not None:
        body["original_file_name"] = asset.original_file_name
    if asset.duration_ms:
        body["duration_ms"] = asset.duration_ms
    if asset.description is not None:
        body["description"] = asset.description
    if asset.external_id is not None:
        body["external_id"] = asset.external_id
    if asset.preview_image_url is not None:
        body["preview_image_url"] = asset.preview_image_url
    if asset.metadata:
        body["metadata"] = dict(asset.metadata)
    labels = None
    if asset.labels is not None:
        labels = _encode(
            [
                {
                    "id": tag.id,
                    "name": tag.name,
                    "full_name": tag.full_name,
                    "parent": tag.parent_id,
                }
                for tag in asset.labels
            ]
        )
    return Documents(_encode(body), labels)


def asset_of(columns: Columns, documents: Documents) -> Asset:
    """The record again. :raises DamagedRecord: the documents are not ours."""
    try:
        body = json.loads(documents.body)
        labels = None if documents.labels is None else json.loads(documents.labels)
        metadata = body.get("metadata")
        return Asset(
            embed_code=columns.embed_code,
            title=body.get("title", ""),
            original_file_name=body.get("original_file_name"),
            asset_type=columns.asset_type,
            status=columns.status,
            created_at_s=columns.created_at_s,
            updated_at_s=columns.updated_at_s,
            duration_ms=body.get("duration_ms", 0),
            description=body.get("description"),
            external_id=body.get("external_id"),
            preview_image_url=body.get("preview_image_url"),
            metadata=NO_METADATA if metadata is None else MappingProxyType(metadata),
            labels=None if labels is None else tuple(_label(item) for item in labels),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedRecord(f"malformed record of {columns.embed_code}") from error


def name_sources(embed_code: str, body: str) -> tuple[str | None, str]:
    """Original file name and title of a document. :raises DamagedRecord: it is not ours."""
    try:
        fields: dict[str, Any] = json.loads(body)
        return fields.get("original_file_name"), fields.get("title", "")
    except (ValueError, AttributeError) as error:
        raise DamagedRecord(f"malformed record of {embed_code}") from error


def _label(item: dict[str, Any]) -> Label:
    return Label(item["id"], item["name"], item["full_name"], item["parent"])
