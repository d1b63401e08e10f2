"""Extended attributes of a file: what the library says of the asset. Pure."""

from __future__ import annotations

import mimetypes
from datetime import UTC, datetime
from typing import NamedTuple

from backlotfs.api.records import Asset
from backlotfs.errors import NoAttribute, NotSupported

PREFIX = "user."


class CacheState(NamedTuple):
    """What this mount, not the library, knows of a file.

    :ivar cached_bytes: of it in memory or on disk. :ivar pinned: whether it stays there.
    :ivar last_error: why the last read or open of it that failed did; ``""``: none did.
    :ivar last_error_at_s: when, seconds since the epoch.
    """

    cached_bytes: int = 0
    pinned: bool = False
    last_error: str = ""
    last_error_at_s: float = 0.0


def extended_attributes(asset: Asset, file_name: str, local: CacheState) -> dict[str, bytes]:
    """Name to value, UTF-8; attributes without a value are left out."""
    mime_type, _ = mimetypes.guess_type(file_name)
    texts = {
        "user.backlot.embed_code": asset.embed_code,
        "user.backlot.name": asset.title,
        "user.backlot.description": asset.description or "",
        "user.backlot.original_file_name": asset.original_file_name or "",
        "user.backlot.asset_type": asset.asset_type,
        "user.backlot.status": asset.status,
        "user.backlot.external_id": asset.external_id or "",
        "user.backlot.duration_ms": str(asset.duration_ms) if asset.duration_ms else "",
        "user.backlot.created_at": _iso(asset.created_at_s),
        "user.backlot.updated_at": _iso(asset.updated_at_s),
        "user.backlotfs.cached": str(local.cached_bytes),
        "user.backlotfs.last_error": local.last_error
        and f"{_iso(int(local.last_error_at_s))} {local.last_error}",
        "user.backlotfs.pinned": str(int(local.pinned)),
        "user.mime_type": mime_type or "",
    }
    return {name: text.encode("utf-8", "replace") for name, text in texts.items() if text}


def value_of(attributes: dict[str, bytes], name: str) -> bytes:
    """One value.

    :raises NotSupported: outside ``user.*``: with ENODATA there, ``ls -l`` would ask four times
        per file, each time. :raises NoAttribute: a ``user.*`` name this file does not have.
    """
    if not name.startswith(PREFIX):
        raise NotSupported(f"extended attributes outside {PREFIX}* are not supported")
    value = attributes.get(name)
    if value is None:
        raise NoAttribute(f"no attribute {name!r}")
    return value


def _iso(epoch_s: int) -> str:
    if not epoch_s:
        return ""
    try:
        return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""
