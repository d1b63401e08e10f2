"""Routes about assets: lists, one asset, its source, and the small resources beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backlotfs.emulator.dialect import (
    asset_record,
    deleted_record,
    source_info_record,
    streams_record,
)
from backlotfs.emulator.http_types import Answer, ReceivedRequest
from backlotfs.emulator.library import Library
from backlotfs.emulator.listing import (
    BadListing,
    Order,
    PastTheEnd,
    next_page_url,
    page_of,
    parse_limit,
    parse_order,
    parse_token,
)
from backlotfs.emulator.records import DeletedAsset, EmulatedAsset
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.source_url import SourceUrls
from backlotfs.emulator.where import BadWhere, Predicate, parse_where

_INCLUDABLE = frozenset({"metadata", "labels"})

_SIDECARS: Mapping[str, Any] = {
    "generated_preview_images": [],
    "lineup": [],
    "preview_image_files": {"items": []},
    "preview_image_urls": {"items": []},
    "primary_preview_image": {"type": "generated", "time": 0},
    "movie_urls": {},
}
"""What a side-car route answers for an asset whose ``extras`` do not hold it (``"/lineup"`` …)."""


class AssetRoutes:
    """Handlers of the asset routes. Thread-safe."""

    def __init__(self, settings: EmulatorSettings, library: Library, urls: SourceUrls) -> None:
        """Serve the assets of ``library``."""
        self._settings = settings
        self._library = library
        self._urls = urls

    def handlers(self) -> dict[str, Callable[[ReceivedRequest, str], Answer]]:
        """Route name to handler; a handler gets the request and the decoded id."""
        handlers = {
            "assets": lambda request, _subject: self.listing(request, self._library.ordered()),
            "deleted_assets": self._deleted,
            "asset": self._of_asset(self._asset),
            "streams": self._of_asset(self._streams),
            "source_file_info": self._of_asset(self._source_file_info),
            "metadata": self._of_asset(lambda _request, asset: Answer.json(dict(asset.metadata))),
            "closed_captions": self._of_asset(_closed_captions),
        }
        for route in _SIDECARS:
            handlers[route] = self._of_asset(_sidecar(route))
        return handlers

    def listing(self, request: ReceivedRequest, assets: Sequence[EmulatedAsset]) -> Answer:
        """A page of ``assets`` (in the default order) with the request's filter, order, limit."""
        values = dict(request.parameters)
        accepts: Predicate | None = None
        order = parse_order(None)
        try:
            if self._settings.supports_where:
                order = parse_order(values.get("orderby"))
                if values.get("where"):
                    accepts = parse_where(values["where"], label_names=self._label_names)
            page = page_of(
                assets,
                order=order,
                accepts=accepts,
                limit=parse_limit(values.get("limit"), self._settings.page_cap),
                token=values.get("page_token"),
                exact_multiple=self._settings.exact_multiple,
            )
        except (BadListing, BadWhere) as error:
            return Answer.message(400, str(error))
        except PastTheEnd:
            return Answer.message(404, "There are no more results.")
        asked = frozenset(values.get("include", "").split(","))
        items = [self._record(request, asset, asked & _INCLUDABLE) for asset in page.assets]
        if self._settings.lists_sources and "streams" in asked:
            for item, asset in zip(items, page.assets, strict=True):
                url = self._source_url(request, asset)
                item["streams"] = streams_record(asset, url, dialect=self._settings.dialect)
        return self._page(request, items, page.next_token)

    def _record(
        self, request: ReceivedRequest, asset: EmulatedAsset, include: frozenset[str]
    ) -> dict[str, Any]:
        return asset_record(
            asset,
            self._library,
            dialect=self._settings.dialect,
            include=include,
            base_url=request.base_url,
        )

    def _page(self, request: ReceivedRequest, items: list[Any], token: str | None) -> Answer:
        payload: dict[str, Any] = {"items": items}
        if token is not None:
            payload["next_page"] = next_page_url(request.raw_path, request.parameters, token)
        return Answer.json(payload)

    def _label_names(self, asset: EmulatedAsset) -> list[str]:
        carried = (self._library.label(label_id) for label_id in asset.label_ids)
        return [label.name for label in carried if label is not None]

    def _deleted(self, request: ReceivedRequest, _subject: str) -> Answer:
        values = dict(request.parameters)
        remaining: Sequence[DeletedAsset] = self._library.deleted()
        try:
            limit = parse_limit(
                values.get("limit", str(self._settings.page_cap)), self._settings.page_cap
            )
            if "page_token" in values:
                moment, embed_code = parse_token(values["page_token"], Order())
                after = (-moment, embed_code)
                remaining = [d for d in remaining if (-d.deleted_at, d.asset.embed_code) > after]
        except BadListing as error:
            return Answer.message(400, str(error))
        page = remaining[:limit]
        token = None
        if len(remaining) > limit:
            token = f"{page[-1].deleted_at};{page[-1].asset.embed_code}"
        return self._page(request, [deleted_record(one) for one in page], token)

    def _of_asset(
        self, handler: Callable[[ReceivedRequest, EmulatedAsset], Answer]
    ) -> Callable[[ReceivedRequest, str], Answer]:
        def found(request: ReceivedRequest, asset_id: str) -> Answer:
            asset = self._library.find(asset_id)
            if asset is None:
                return Answer.message(404, f"No asset exists with the id {asset_id}.")
            return handler(request, asset)

        return found

    def _asset(self, request: ReceivedRequest, asset: EmulatedAsset) -> Answer:
        include = frozenset(dict(request.parameters).get("include", "").split(","))
        return Answer.json(self._record(request, asset, include & _INCLUDABLE))

    def _streams(self, request: ReceivedRequest, asset: EmulatedAsset) -> Answer:
        if asset.content is None and not asset.url_withheld and asset.asset_type != "video":
            if self._settings.sourceless_streams == "404":
                return Answer.message(404, f"No streams exist for the asset {asset.embed_code}.")
            return Answer.json([])
        url = self._source_url(request, asset)
        return Answer.json(streams_record(asset, url, dialect=self._settings.dialect))

    def _source_file_info(self, request: ReceivedRequest, asset: EmulatedAsset) -> Answer:
        return Answer.json(source_info_record(asset, self._source_url(request, asset)))

    def _source_url(self, request: ReceivedRequest, asset: EmulatedAsset) -> str | None:
        if asset.content is None or asset.url_withheld:
            return None
        return self._urls.mint(asset, request.base_url)


def _sidecar(route: str) -> Callable[[ReceivedRequest, EmulatedAsset], Answer]:
    return lambda _request, asset: Answer.json(asset.extras.get(f"/{route}", _SIDECARS[route]))


def _closed_captions(_request: ReceivedRequest, asset: EmulatedAsset) -> Answer:
    captions = asset.extras.get("/closed_captions")
    if captions is None:
        return Answer.message(404, f"No closed captions exist for the asset {asset.embed_code}.")
    body = captions if isinstance(captions, bytes) else str(captions).encode()
    return Answer(200, body, {"Content-Type": "application/ttaf+xml"})
