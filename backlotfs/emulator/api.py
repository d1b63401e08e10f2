"""The API side: signatures, the rate limit, and every route below ``/v2``."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

from backlotfs.emulator.assets import SOURCE_TYPES, DeletedAsset, EmulatedAsset, EmulatedLabel
from backlotfs.emulator.http_types import Answer, ReceivedRequest
from backlotfs.emulator.library import Library
from backlotfs.emulator.listing import (
    BadListing,
    BadWhere,
    Order,
    PastTheEnd,
    Predicate,
    next_page_url,
    page_of,
    parse_limit,
    parse_order,
    parse_token,
    parse_where,
)
from backlotfs.emulator.numbers_and_dates import iso_time, whole_number
from backlotfs.emulator.routes import PREVIEW_IMAGE, RouteMatch
from backlotfs.emulator.settings import EmulatorSettings
from backlotfs.emulator.sources import SourceUrls

SIGNATURE_LENGTH = 43


def api_signature(
    secret: str, method: str, path: str, parameters: Iterable[tuple[str, str]], body: bytes = b""
) -> str:
    """The signature this request has to carry, before percent-encoding.

    :param path: the path as received, undecoded, without the query.
    :param parameters: decoded (name, value) pairs; ``signature`` is left out by this function.
    """
    pairs = sorted((name, value) for name, value in parameters if name != "signature")
    text = secret + method.upper() + path + "".join(f"{name}={value}" for name, value in pairs)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape") + body).digest()
    return base64.b64encode(digest).decode("ascii")[:SIGNATURE_LENGTH].rstrip("=")


def signature_matches(expected: str, given: str) -> bool:
    """Whether ``given`` is the signature; trailing ``=`` do not matter. Constant time."""
    return hmac.compare_digest(
        expected.encode("ascii"), given.rstrip("=").encode("utf-8", "surrogateescape")
    )


@dataclass(frozen=True, slots=True)
class Charge:
    """What one call met.

    :ivar granted: whether there was a credit for it.
    :ivar remaining: credits left after it.
    :ivar reset_s: whole seconds until the window ends, at least 1.
    """

    granted: bool
    remaining: int
    reset_s: int


class RateLimiter:
    """Credits of the account; every call takes one, failed calls too. Thread-safe."""

    def __init__(self, limit: int, window_s: float, clock: Callable[[], float]) -> None:
        """``limit`` calls in ``window_s`` seconds of ``clock``."""
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._lock = Lock()
        self._opened: float | None = None
        self._spent = 0

    def charge(self) -> Charge:
        """Take a credit for one call, if there is one."""
        with self._lock:
            now = self._clock()
            if self._opened is None or now - self._opened >= self._window_s or now < self._opened:
                self._opened, self._spent = now, 0
            granted = self._spent < self._limit
            self._spent += granted
            reset_s = max(1, math.ceil(self._opened + self._window_s - now))
            return Charge(granted, self._limit - self._spent, reset_s)


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


def split_full_paths(text: str) -> list[list[str]]:
    """``/Sports/Racing,/Other`` as lists of names; ``~`` keeps a ``/``, ``,`` or ``~`` literal."""
    paths: list[list[str]] = []
    names: list[str] = [""]
    for token in re.findall(r"~.|[^~]|~", text, flags=re.DOTALL):
        if token == ",":
            paths.append([name for name in names if name])
            names = [""]
        elif token == "/":
            names.append("")
        else:
            names[-1] += token[1:] if len(token) == 2 else token
    paths.append([name for name in names if name])
    return [path for path in paths if path]


class LabelRoutes:
    """Handlers of the label routes. Thread-safe."""

    def __init__(self, library: Library, assets: AssetRoutes) -> None:
        """Serve the labels of ``library``; ``assets`` pages a label's assets."""
        self._library = library
        self._assets = assets

    def handlers(self) -> dict[str, Callable[[ReceivedRequest, str], Answer]]:
        """Route name to handler; a handler gets the request and the decoded id or path."""
        return {
            "labels": self._all,
            "label": self._one,
            "label_children": self._children,
            "label_assets": self._label_assets,
            "labels_by_full_path": self._by_full_path,
            "asset_labels": self._asset_labels,
        }

    def _items(self, labels: Iterable[EmulatedLabel]) -> Answer:
        return Answer.json({"items": [label_record(label, self._library) for label in labels]})

    def _all(self, request: ReceivedRequest, _subject: str) -> Answer:
        root_only = dict(request.parameters).get("is_root") == "true"
        return self._items(
            label for label in self._library.labels() if not root_only or label.parent_id is None
        )

    def _one(self, _request: ReceivedRequest, label_id: str) -> Answer:
        label = self._library.label(label_id)
        if label is None:
            return _no_label(label_id)
        count = sum(label_id in asset.label_ids for asset in self._library.ordered())
        return Answer.json({**label_record(label, self._library), "asset_count": count})

    def _children(self, _request: ReceivedRequest, label_id: str) -> Answer:
        if self._library.label(label_id) is None:
            return _no_label(label_id)
        return self._items(one for one in self._library.labels() if one.parent_id == label_id)

    def _label_assets(self, request: ReceivedRequest, label_id: str) -> Answer:
        if self._library.label(label_id) is None:
            return _no_label(label_id)
        carrying = [a for a in self._library.ordered() if label_id in a.label_ids]
        return self._assets.listing(request, carrying)

    def _by_full_path(self, _request: ReceivedRequest, text: str) -> Answer:
        by_name: dict[str, list[EmulatedLabel]] = {}
        for label in self._library.labels():
            by_name.setdefault(self._library.full_name(label), []).append(label)
        found: list[EmulatedLabel] = []
        missing: list[str] = []
        for wanted in dict.fromkeys(
            "".join(f"/{name}" for name in names) for names in split_full_paths(text)
        ):
            found += by_name.get(wanted, [])
            if wanted not in by_name:
                missing.append(wanted)
        if missing:
            return Answer.message(400, "Some labels do not exist.", missing_labels=missing)
        return self._items(found)

    def _asset_labels(self, _request: ReceivedRequest, asset_id: str) -> Answer:
        asset = self._library.find(asset_id)
        if asset is None:
            return Answer.message(404, f"No asset exists with the id {asset_id}.")
        return self._items(one for one in self._library.labels() if one.label_id in asset.label_ids)


def _no_label(label_id: str) -> Answer:
    return Answer.message(404, f"No label exists with the id {label_id}.")


Handler = Callable[[ReceivedRequest, str], Answer]


class ApiSide:
    """Answers API requests. Thread-safe."""

    def __init__(self, settings: EmulatorSettings, library: Library, urls: SourceUrls) -> None:
        """Serve ``library``; ``urls`` signs source URLs."""
        self._settings = settings
        assets = AssetRoutes(settings, library, urls)
        labels = LabelRoutes(library, assets)
        self._handlers: dict[str, Handler] = {**assets.handlers(), **labels.handlers()}

    def answer(self, request: ReceivedRequest, match: RouteMatch) -> Answer:
        """The answer to a request that was not refused, the rate limit aside.

        It may look at files and walk the whole library.
        """
        handler = self._handlers.get(match.route)
        if handler is None:
            return Answer.message(404, f"No route matches {request.path}.")
        if request.method != "GET":
            return Answer.message(403, "This API key has read-only access.")
        return handler(request, match.subject)

    def refusal(self, request: ReceivedRequest) -> Answer | None:
        """The answer to a request without good credentials, else None. Quick."""
        parameters = request.parameters
        values: dict[str, Any] = dict(parameters)
        missing = [name for name in ("api_key", "signature", "expires") if not values.get(name)]
        if missing:
            return Answer.message(400, f"These parameters are missing: {', '.join(missing)}.")
        expected = api_signature(
            self._settings.api_secret, request.method, request.raw_path, parameters, request.body
        )
        known = values["api_key"] == self._settings.api_key
        if not known or not signature_matches(expected, values["signature"]):
            return Answer.message(401, "Invalid signature.")
        expires = whole_number(values["expires"])
        if expires is None:
            return Answer.message(400, "expires must be a number of seconds since the epoch.")
        # dates years ahead, and milliseconds, were accepted
        if expires < self._settings.clock():
            return Answer.message(self._settings.stale_expires_status, "Request Expired.")
        return None
