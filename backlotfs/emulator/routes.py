"""Which route a path belongs to: names for the log, the fault plan and both sides. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

PREVIEW_IMAGE = "promo000000001"
"""How the path of a preview image ends, behind the embed code."""

_PER_ASSET = {
    "labels": "asset_labels",
    **{
        name: name
        for name in (
            *("streams", "source_file_info", "metadata", "closed_captions", "lineup", "movie_urls"),
            *("generated_preview_images", "preview_image_files", "preview_image_urls"),
            "primary_preview_image",
        )
    },
}
_PER_LABEL = {"children": "label_children", "assets": "label_assets"}
_ABOUT_AN_ASSET = frozenset({"asset", "source", "preview_image", *_PER_ASSET.values()})

ROUTES = _ABOUT_AN_ASSET.union(
    ("assets", "deleted_assets", "labels", "label", "labels_by_full_path", "unknown"),
    _PER_LABEL.values(),
)
"""Every route name there is; ``unknown`` is a path under ``/v2`` that nothing serves."""


class RouteMatch(NamedTuple):
    """A route, and the decoded id or path that followed it (``""`` when there is none)."""

    route: str
    subject: str = ""

    @property
    def embed_code(self) -> str | None:
        """The asset a request is about, as it was named; None for lists and labels."""
        return self.subject if self.route in _ABOUT_AN_ASSET else None


def match_route(raw_path: str) -> RouteMatch:
    """The route of an undecoded path: ``/v2/…`` is the API, all else sources and their images."""
    if raw_path != "/v2" and not raw_path.startswith("/v2/"):
        embed_code, _, name = unquote(raw_path).lstrip("/").partition("/")
        return RouteMatch("preview_image" if name == PREVIEW_IMAGE else "source", embed_code)
    match raw_path.rstrip("/").split("/")[2:]:
        case ["assets" | "deleted_assets" | "labels" as name]:
            return RouteMatch(name)
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
