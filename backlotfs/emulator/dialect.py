"""JSON shapes of the API: asset objects, ``/streams`` entries, labels, in both type dialects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from backlotfs.emulator.library import Library
from backlotfs.emulator.numbers_and_dates import iso_time
from backlotfs.emulator.records import SOURCE_TYPES, DeletedAsset, EmulatedAsset, EmulatedLabel
from backlotfs.emulator.routing import PREVIEW_IMAGE

Dialect = Literal["2013", "2017"]

_PUBLISHING_RULE = "0123456789abcdef0123456789abcdef"
_PLAYER = "fedcba9876543210fedcba9876543210"


def asset_record(
    asset: EmulatedAsset,
    library: Library,
    *,
    dialect: Dialect,
    include: frozenset[str],
    base_url: str,
) -> dict[str, Any]:
    """An asset object; never a size, a checksum or a MIME type.

    :param base_url: where its preview image is.
    :param include: of ``metadata`` and ``labels``, what was asked for.
    """
    ready = asset.asset_type in SOURCE_TYPES and asset.status in ("live", "paused")
    image = f"{base_url}/{asset.embed_code}/{PREVIEW_IMAGE}" if ready else None
    record: dict[str, Any] = {
        "embed_code": asset.embed_code,
        "name": asset.title,
        "asset_type": asset.asset_type,
        "status": asset.status,
        "original_file_name": asset.original_file_name,
        "duration": asset.duration_ms,
        "description": asset.description,
        "created_at": iso_time(asset.created_at),
        "updated_at": iso_time(asset.changed_at),
        "external_id": asset.external_id,
        "hosted_at": None,
        "time_restrictions": None,
        "ad_set_id": None,
        "publishing_rule_id": _PUBLISHING_RULE,
        "preview_image_url": image,
    }
    if dialect != "2013":
        record["player_id"] = _PLAYER
    record.update((k, v) for k, v in asset.extras.items() if not k.startswith("/"))
    if "metadata" in include:
        record["metadata"] = dict(asset.metadata)
    if "labels" in include:
        carried = (library.label(label_id) for label_id in asset.label_ids)
        record["labels"] = [label_record(one, library) for one in carried if one is not None]
    return record


def label_record(label: EmulatedLabel, library: Library) -> dict[str, Any]:
    """A label object."""
    return {
        "id": label.label_id,
        "name": label.name,
        "full_name": library.full_name(label),
        "parent_id": label.parent_id,
    }


def deleted_record(deleted: DeletedAsset) -> dict[str, Any]:
    """An entry of ``/v2/deleted_assets``; its duration is a string, as in the one sample."""
    asset = deleted.asset
    return {
        "embed_code": asset.embed_code,
        "name": asset.title,
        "description": asset.description,
        "asset_type": asset.asset_type,
        "created_at": iso_time(asset.created_at),
        "deleted_at": iso_time(deleted.deleted_at),
        "provider_id": 12345,
        "duration": str(asset.duration_ms),
    }


def claimed_size(asset: EmulatedAsset) -> int | None:
    """The ``file_size`` the API states: the true size unless the asset says otherwise."""
    if asset.reported_size is not None:
        return asset.reported_size
    return asset.content.size if asset.content is not None else None


def streams_record(
    asset: EmulatedAsset, url: str | None, *, dialect: Dialect
) -> list[dict[str, Any]]:
    """The array of ``/streams``: two renditions, and the source where the asset wants it.

    :param url: the signed source URL, or None to say ``null``.
    """
    entries = [
        _rendition(asset, 240, 136, 150, "baseline"),
        _rendition(asset, 1280, 720, 1200, "main"),
    ]
    if asset.content is not None or asset.url_withheld:
        source = {
            "is_source": True,
            "file_size": claimed_size(asset),
            "muxing_format": "NA",
            "stream_type": "single",
            "profile": "na",
            "video_codec": "h264",
            "audio_codec": "aac",
            "video_width": 1920,
            "video_height": 1080,
            "average_video_bitrate": 8000,
            "audio_bitrate": 0,
            "url": url,
        }
        entries.insert(min(asset.source_position, len(entries)), source)
    return [_as_strings(entry) for entry in entries] if dialect == "2013" else entries


def source_info_record(asset: EmulatedAsset, url: str | None) -> dict[str, Any]:
    """The five fields of ``/source_file_info``; sizes are integers in every dialect."""
    return {
        "original_file_name": asset.original_file_name,
        "file_size": claimed_size(asset),
        "source_file_url": url,
        "reconstituted_source_file_available": url is not None,
        "uploaded_by_client": None,
    }


def _rendition(
    asset: EmulatedAsset, width: int, height: int, kbit_s: int, profile: str
) -> dict[str, Any]:
    return {
        "is_source": False,
        "file_size": asset.duration_ms * kbit_s // 8,
        "muxing_format": "TS",
        "stream_type": "abr",
        "profile": profile,
        "video_codec": "h264",
        "audio_codec": "aac",
        "video_width": width,
        "video_height": height,
        "average_video_bitrate": kbit_s,
        "audio_bitrate": 32,
        "url": f"http://player.ooyala.com/player/iphone/{asset.embed_code}.m3u8",
    }


def _as_strings(entry: Mapping[str, Any]) -> dict[str, Any]:
    def text(value: Any) -> Any:
        if isinstance(value, bool):
            return "true" if value else "false"
        return value if value is None or isinstance(value, str) else str(value)

    return {name: text(value) for name, value in entry.items()}
