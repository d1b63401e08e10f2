"""What the file beside a source says of its asset: JSON, the same bytes for the same facts. Pure.

docs/sidecars.md describes it for its readers; `FORMAT` changes when a reader would have to.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from backlotfs.api.records import Asset
from backlotfs.source.version import SourceVersion

#: Appended to the whole name of the source, so that ``a.mov`` and ``a.mp4`` have one each.
SUFFIX = ".json"
FORMAT = 1


def sidecar_text(asset: Asset, source: SourceVersion | None) -> bytes:
    """UTF-8, keys sorted, two spaces of indentation, a newline at the end.

    :param source: what the last probe of the source found; None while there was none.
    """
    labels = sorted(asset.labels or (), key=lambda label: (label.full_name, label.id))
    facts = {
        "sidecar_format": FORMAT,
        "embed_code": asset.embed_code,
        "title": asset.title,
        "description": asset.description,
        "asset_type": asset.asset_type,
        "status": asset.status,
        "original_file_name": asset.original_file_name,
        "external_id": asset.external_id,
        "duration_ms": asset.duration_ms,
        "created_at": _iso(asset.created_at_s),
        "updated_at": _iso(asset.updated_at_s),
        "metadata": dict(asset.metadata),
        "labels": [
            {"id": label.id, "name": label.name, "full_name": label.full_name} for label in labels
        ],
        "source": None
        if source is None
        else {
            "size": source.size,
            "etag": source.etag,
            "last_modified": source.last_modified,
        },
    }
    text = json.dumps(facts, ensure_ascii=False, indent=2, sort_keys=True)
    # half a surrogate pair in a title is no UTF-8
    return f"{text}\n".encode("utf-8", "replace")


def _iso(epoch_s: int) -> str | None:
    try:
        return (
            datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if epoch_s else None
        )
    except (ValueError, OverflowError, OSError):
        return None
