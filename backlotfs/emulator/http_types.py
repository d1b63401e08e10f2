# SPDX-License-Identifier: Apache-2.0
"""Plain values: a request as received, the route of its path, and an answer. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from backlotfs.emulator.assets import OpenContent

PREVIEW_IMAGE = "promo000000001"
"""Last component of the path of a preview image, after the embed code."""

_ASSET_RESOURCES = frozenset(
    {
        *("streams", "source_file_info", "metadata", "closed_captions", "lineup", "movie_urls"),
        *("generated_preview_images", "preview_image_files", "preview_image_urls"),
        "primary_preview_image",
    }
)
_LABEL_RESOURCES = {"children": "label_children", "assets": "label_assets"}
_ABOUT_AN_ASSET = _ASSET_RESOURCES | {"asset", "asset_labels", "source", "preview_image"}

ROUTES = _ABOUT_AN_ASSET.union(
    ("assets", "deleted_assets", "labels", "label", "labels_by_full_path", "unknown"),
    _LABEL_RESOURCES.values(),
)
"""All names of routes; ``unknown`` is any other path below ``/v2``."""

API_CONTENT_TYPE = "application/json;charset=utf-8"


class SourceNode(NamedTuple):
    """One of several nodes that serve the same objects. All but the first have other ETags.

    :ivar weak: the ETag of this node is the common ETag in its weak form, as behind some proxies.
    """

    number: int = 0
    weak: bool = False

    def etag(self, common: str) -> str:
        """The ETag that this node gives to an object."""
        if not self.number:
            return common
        return f"W/{common}" if self.weak else f'{common[:-1]}-node{self.number}"'


FIRST_NODE = SourceNode()


@dataclass(frozen=True)
class ReceivedRequest:
    """One request.

    :ivar method: upper case.
    :ivar raw_path: path as received, undecoded, without the query.
    :ivar raw_query: query as received, without the ``?``.
    :ivar headers: looked up without regard to case.
    :ivar base_url: address that the client used: ``http://host:port``.
    :ivar node: the node of the source host that received the request.
    """

    method: str
    raw_path: str
    raw_query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base_url: str = ""
    node: SourceNode = FIRST_NODE

    @cached_property
    def parameters(self) -> list[tuple[str, str]]:
        """Decoded query parameters in the order received, empty ones included."""
        return parse_qsl(self.raw_query, keep_blank_values=True, errors="surrogateescape")

    @cached_property
    def values(self) -> dict[str, str]:
        """The last value of each query parameter."""
        return dict(self.parameters)

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path, errors="surrogateescape")


class RouteMatch(NamedTuple):
    """A route, and the decoded id or path in it (``""`` if there is none)."""

    route: str
    subject: str = ""

    @property
    def embed_code(self) -> str | None:
        """The embed code or external id in the path; None for lists and labels."""
        return self.subject if self.route in _ABOUT_AN_ASSET else None


def match_route(raw_path: str) -> RouteMatch:
    """The route of an undecoded path: ``/v2/…`` is the API, all others are sources and images."""
    if raw_path != "/v2" and not raw_path.startswith("/v2/"):
        embed_code, _, name = unquote(raw_path).lstrip("/").partition("/")
        return RouteMatch("preview_image" if name == PREVIEW_IMAGE else "source", embed_code)
    match raw_path.rstrip("/").split("/")[2:]:
        case ["assets" | "deleted_assets" | "labels" as name]:
            return RouteMatch(name)
        case ["assets", asset_id]:
            return RouteMatch("asset", unquote(asset_id))
        case ["assets", asset_id, "labels"]:
            return RouteMatch("asset_labels", unquote(asset_id))
        case ["assets", asset_id, resource] if resource in _ASSET_RESOURCES:
            return RouteMatch(resource, unquote(asset_id))
        case ["labels", "by_full_path", *rest] if rest:
            return RouteMatch("labels_by_full_path", unquote("/".join(rest)))
        case ["labels", label_id]:
            return RouteMatch("label", unquote(label_id))
        case ["labels", label_id, resource] if resource in _LABEL_RESOURCES:
            return RouteMatch(_LABEL_RESOURCES[resource], unquote(label_id))
    return RouteMatch("unknown")


@dataclass(frozen=True, slots=True)
class ByteSpan:
    """Part of an open content, as a body; `Transfer` closes the content."""

    content: OpenContent
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that was not sent yet.

    :ivar headers: without ``Content-Length`` and ``Date``, which `Transfer` adds.
    """

    status: int
    body: bytes | ByteSpan = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, payload: Any, status: int = 200) -> Answer:
        """A JSON answer of the API."""
        text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        try:
            body = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a single surrogate, which UTF-8 cannot encode
            body = text.encode("utf-8", "replace")
        return cls(status, body, {"Content-Type": API_CONTENT_TYPE})

    @classmethod
    def message(cls, status: int, text: str, **more: Any) -> Answer:
        """An error of the API: ``{"message": …}``."""
        return cls.json({"message": text, **more}, status)

    @property
    def length(self) -> int:
        """Length of the body in bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length

    def with_headers(self, **headers: str) -> Answer:
        """The same answer with further headers; ``_`` in a name stands for ``-``."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **added})

    def close(self) -> None:
        """Close the open content of an answer that is not sent."""
        if isinstance(self.body, ByteSpan):
            self.body.content.close()
