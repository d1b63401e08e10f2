"""Which route a path belongs to. Pure: names for the log, the fault plan and the two sides."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

_PER_ASSET = {
    "streams": "streams",
    "source_file_info": "source_file_info",
    "labels": "asset_labels",
    "metadata": "metadata",
    "closed_captions": "closed_captions",
    "generated_preview_images": "generated_preview_images",
    "preview_image_files": "preview_image_files",
    "preview_image_urls": "preview_image_urls",
    "primary_preview_image": "primary_preview_image",
    "movie_urls": "movie_urls",
    "lineup": "lineup",
}
PREVIEW_IMAGE = "promo000000001"
"""How the path of a preview image ends, behind the embed code."""

_PER_LABEL = {"children": "label_children", "assets": "label_assets"}

ROUTES = frozenset(
    {
        *_PER_ASSET.values(),
        *_PER_LABEL.values(),
        *("assets", "asset", "deleted_assets", "labels", "label", "labels_by_full_path"),
        *("source", "preview_image", "unknown"),
    }
)
"""Every route name there is; ``unknown`` is a path under ``/v2`` that nothing serves."""


class RouteMatch(NamedTuple):
    """A route, and the decoded id or path that followed it (``""`` when there is none)."""

    route: str
    subject: str = ""

    @property
    def embed_code(self) -> str | None:
        """The asset a request is about, as it was named; None for lists and labels."""
        about_asset = self.route in ("asset", "source", "preview_image")
        about_asset = about_asset or self.route in _PER_ASSET.values()
        return self.subject if about_asset else None


def match_route(raw_path: str) -> RouteMatch:
    """The route of an undecoded path: ``/v2/…`` is the API, all else sources and their images."""
    if raw_path != "/v2" and not raw_path.startswith("/v2/"):
        embed_code, _, name = unquote(raw_path).lstrip("/").partition("/")
        return RouteMatch("preview_image" if name == PREVIEW_IMAGE else "source", embed_code)
    parts = raw_path.rstrip("/").split("/")[2:]
    match parts:
        case ["assets"] | ["deleted_assets"] | ["labels"]:
            return RouteMatch(parts[0])
        case ["assets", asset_id]:
            return RouteMatch("asset", unquote(asset_id))
        case ["assets", asset_id, resource] if resource in _PER_ASSET:
            return RouteMatch(_PER_ASSET[resource], unquote(asset_id))
        case ["labels", "by_full_path", *rest] if rest:
            return RouteMatch("labels_by_full_path", unquote("/".join(rest)))
        case ["labels", label_id]:
            return RouteMatch("label", unquote(label_id))
        case ["labels", label_id, resource] if resource in _PER_LABEL:
            return RouteMatch(_PER_LABEL[resource], unquote(label_id))
    return RouteMatch("unknown")
